"""One run: capture, inference and sinks, each on its own thread, each hand-over a bounded queue.

    capture thread                        caller's thread                        a thread a sink
    source.read ─► sampling ─► Handover ─► recogniser ─► segments ─► Fanout ─► queue ─► sink.emit
              └──────────────── every picture ───────────────────────┘     └─► queue ─► sink.show, sink.emit

A file's frames may pass through lanes on their way to the recogniser, and are encoded there (`lookahead`).
Everything that decides is elsewhere and pure (`sampling`, `policy`, `segments`); this file moves frames and events, and
sees to it that the run ends: within two seconds of a stop, with the open segment and the summary written, even when a
source's read never returns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial

from edge_runtime import __version__
from edge_runtime.errors import SourceLostError
from edge_runtime.events import Event, Fault, Features, Result, Segment, Start, Summary
from edge_runtime.pipeline import policy
from edge_runtime.pipeline.accounting import Account, AccountingError
from edge_runtime.pipeline.budgets import WHOLE
from edge_runtime.pipeline.clock import Clock, StopFlag, system_clock
from edge_runtime.pipeline.fanout import Fanout
from edge_runtime.pipeline.handover import Handover
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.lookahead import Incoming, Seen
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.policy import Governor, Policy
from edge_runtime.pipeline.recogniser import event_of
from edge_runtime.pipeline.succession import Lineup, Successor
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.redaction import redact
from edge_runtime.sampling import FrameSampler, Rate
from edge_runtime.segments import Hysteresis, Segmenter
from edge_runtime.sinks.base import Sink
from edge_runtime.sources.base import Frame, Source, UnreadableFrameError

log = logging.getLogger(__name__)

# A capture thread that has not ended by then hangs in its driver; it is left behind, its source not closed.
CAPTURE_END_S = 0.3
# For all sinks together to write what is queued: a run that was told to stop has 2 s in all.
END_S = 1.2
PATIENT_END_S = 30.0
MAX_COMPLAINTS = 5  # about unreadable frames; a loose cable makes thirty a second


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Where a run ends by itself: frames captured, or seconds of source time (of the clock too, where it is live)."""

    max_frames: int | None = None
    duration_s: float | None = None


class Pipeline:
    """Runs once. Every part is given, so that a test may put its own in place.

    Args:
        source: opened; closed by the run.
        lineup: ``main``, and ``fallback`` where the policy has levels that use it; a successor takes its place there.
        sinks: opened; closed by the run.
        times: the stopwatch; its `lap` observes the recognisers.
        monitor: watches it, and knows the budgets.
        threads: inside an operator, for the start event.
    """

    def __init__(
        self,
        source: Source,
        lineup: Lineup,
        sinks: Sequence[Sink],
        *,
        chosen: Policy,
        times: StageTimes,
        monitor: StageMonitor,
        hysteresis: Hysteresis | None = None,
        limits: RunLimits | None = None,
        clock: Clock = system_clock,
        account: Account | None = None,
        stop: StopFlag | None = None,
        threads: int = 1,
    ) -> None:
        self._source = source
        self._lineup = lineup
        self._recogniser = main = lineup.recognisers["main"]
        self._clock = clock
        self._stop = stop or StopFlag()
        self._limits = limits or RunLimits()
        self._times = times
        self._monitor = monitor
        self._rate = Rate.matching(main.fps, source.info.fps)
        self._sampler = FrameSampler(self._rate)
        self._segmenter = Segmenter(hysteresis or Hysteresis(), main.background)
        self._governor = Governor(chosen, monitor.budgets.ns(WHOLE))
        self.account = account or Account()
        self._handover = Handover(self.account, self._governor, live=source.info.live, clock=clock)
        # Lanes serve frames that wait. Of a camera the newest may, and lanes would only make it older.
        looks = [partial(self._look, lane) for lane in range(len(main.lookers))] if chosen.name == "block" else []
        self._start_lanes = partial(Incoming, self._handover, looks, self.account)
        self._lanes = max(1, len(looks))
        self._threads = threads
        self._fanout = Fanout(
            sinks, lossless=chosen.name == "block", clock=clock, stop=self._stop, delivered=self._delivered
        )
        self.account.sinks = self._fanout.tallies
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)
        self._ended_by = "end-of-stream"
        self._failure: Exception | None = None
        self._last: Frame | None = None
        self._last_result_t: float | None = None
        self._lost_before = 0
        self._results = 0
        self._segments = 0
        self._slow_said = False
        self._complaints = 0
        self._begun_ns = 0
        self._stuck: list[str] = []

    def run(self) -> Summary:
        """Until the source ends, a limit is reached or a stop is requested.

        Raises:
            InputError: the source's content is not what the network takes. The summary was written nevertheless.
            SourceLostError: a live source is gone for good. Likewise.
            AccountingError: a frame was lost count of. Likewise.
        """
        self._begun_ns = self._clock()
        self._emit(self._start())
        self._thread.start()
        incoming = self._start_lanes()
        try:
            self._recognise(incoming)
        except Exception as error:
            self._fail(error)
        summary = self._finish(incoming)
        if self._failure is not None:
            raise self._failure
        return summary

    @property
    def hanging(self) -> bool:
        """After a run: a thread of ours is stuck in a driver or a file system, and will not let the process end."""
        return self._thread.is_alive() or self._source.stuck or bool(self._stuck)

    # ---- capture thread

    def _capture(self) -> None:
        try:
            self._ended_by = self._read_all()
        except Exception as error:
            self._fail(error)
        finally:
            self._handover.finish()

    def _read_all(self) -> str:
        """Read until the source or the run ends; why it ended."""
        read = 0
        first_t: float | None = None
        while self._stop.reason is None:
            if read == self._limits.max_frames:
                return "max-frames"
            try:
                frame = self._source.read()
            except UnreadableFrameError as error:
                self._complain(error)
                self.account.captured_and_dropped("unreadable")
                read += 1
                continue
            if frame is None:
                return "end-of-stream"
            if isinstance(frame, Fault):
                self._emit(frame)
                continue
            first_t = frame.t if first_t is None else first_t
            if self._limits.duration_s is not None and frame.t - first_t >= self._limits.duration_s:
                return "duration"
            read += 1
            self.account.newest_ns = frame.captured_ns
            self._fanout.show(frame)
            choice = self._sampler.step(frame.t)
            if choice.slow and not self._slow_said:
                self._slow_said = True
                detail = {"source_fps": round((read - 1) / (frame.t - first_t), 1), "model_fps": self._rate.fps}
                self._emit(Fault("slow-source", frame.t, detail))
            if not choice.use:
                self.account.captured_and_dropped("rate")
            elif not self._handover.put(frame):
                break
        return "stopped"

    def _complain(self, error: UnreadableFrameError) -> None:
        self._complaints += 1
        if self._complaints <= MAX_COMPLAINTS:
            further = "; further ones are only counted" if self._complaints == MAX_COMPLAINTS else ""
            log.warning("%s; counted, the run goes on%s", error, further)

    # ---- inference, on the caller's thread

    def _recognise(self, incoming: Incoming) -> None:
        while self._stop.reason is None and not incoming.over:
            taken = incoming.take()
            if taken is not None:
                self._process(*taken)
            self._check_time()
        if self._stop.reason in (None, "duration"):
            self._tell_owed()

    def _check_time(self) -> None:
        limit = self._limits.duration_s
        if limit is not None and self._source.info.live and self._clock() - self._begun_ns >= limit * 1e9:
            self._stop.request("duration")

    def _look(self, lane: int, frame: Frame) -> Seen | None:
        """On a lane's thread: what the network that answers now sees of a frame before its turn."""
        lookers = self._recogniser.lookers
        return lookers[lane](frame) if lane < len(lookers) else None

    def _process(self, frame: Frame, looked: Future[Seen | None] | None = None) -> None:
        self._mend_gap(frame)
        if looked is None:
            self._times.take(frame.index, frame.captured_ns)
        level, clip_length = self._governor.level, self._recogniser.clip_length
        successor = self._lineup.successor  # another thread may offer a newer one at any time
        if policy.skips(level, clip_length, self._rate.fps, frame.t, self._last_result_t):
            self._recogniser.skip()
            if successor is not None:
                successor.skip()
            self.account.dropped("skipped")
            return
        try:
            opinions = self._step(frame, looked)
        except Exception:
            self.account.dropped("failed")
            raise
        self.account.processed()
        if opinions:
            known_ns = self._clock()
            self._times.whole(WHOLE, frame.captured_ns, known_ns)
            self._last_result_t = frame.t
            self._tell(opinions, known_ns - frame.captured_ns)
            self._govern(frame, known_ns)
        if successor is not None and self._recogniser is self._lineup.recognisers["main"]:
            self._warm_up(successor, frame, bool(opinions))

    def _step(self, frame: Frame, looked: Future[Seen | None] | None) -> list[Opinion]:
        if looked is None:
            return self._recogniser.step(frame)
        seen = looked.result()
        if seen is None:
            self._times.take(frame.index, frame.captured_ns)
            return self._recogniser.step(frame)
        self._times.join(frame.index, seen.passes)
        return self._recogniser.follow(frame, seen)

    def _warm_up(self, successor: Successor, frame: Frame, hop_complete: bool) -> None:
        if successor.recogniser.hop != self._recogniser.hop:  # policy degrade has lengthened it, or shortened it again
            successor.recogniser.run_at(self._recogniser.hop)
            successor.reset()
        try:
            ready = successor.step(frame, hop_complete)
        except Exception as error:
            log.exception("the new model failed and is dropped; the present one goes on")
            self._lineup.drop(successor)
            self._emit(Fault("model-refused", frame.t, {"message": redact(str(error))}))
            return
        if ready:
            self._recogniser = successor.recogniser
            self._lineup.take_over(successor)
            log.info("the new model has taken over")
            detail = {"models": dict(successor.models), "providers": dict(successor.providers)}
            self._emit(Fault("model-replaced", frame.t, detail))

    def _mend_gap(self, frame: Frame) -> None:
        """Forget the past when it is not this frame's past."""
        last, self._last = self._last, frame
        if last is None:
            return
        silence = frame.t - last.t
        if 0 <= silence <= self._rate.gap_s and frame.epoch == last.epoch:
            return
        self._tell_owed(last)
        self._emit_all(self._segmenter.finish())
        self._recogniser.reset()
        if self._lineup.successor is not None:
            self._lineup.successor.reset()
        self._last_result_t = None
        if 0 <= silence <= self._rate.gap_s:
            return  # nothing is missing: a recording begins again, or the source itself has said what has changed
        lost = self.account.count("overload") - self._lost_before  # then it is the network that is slow
        detail = {"seconds": round(silence, 3), "bound_s": round(self._rate.gap_s, 3), "lost_to_overload": lost}
        self._emit(Fault("clock-jump" if silence < 0 else "gap", frame.t, detail))
        if lost:  # a network so slow that no clip is ever whole gives no result by which the policy could tell
            self._govern(frame, self._clock())

    def _govern(self, frame: Frame, known_ns: int) -> None:
        """Let the policy see this result; run as it says from now on."""
        lost = self.account.count("overload")
        change = self._governor.observe(frame.captured_ns, known_ns, lost - self._lost_before)
        self._lost_before = lost
        if change is None:
            return
        if change.after.model != change.before.model:
            self._tell_owed()
            self._recogniser = self._lineup.recognisers[change.after.model]
            self._recogniser.reset()
        self._recogniser.run_at(change.after.hop)
        levels = {"before": asdict(change.before), "after": asdict(change.after)}
        self._emit(Fault(change.kind, frame.t, {"reason": change.reason, **levels}))

    def _tell_owed(self, last: Frame | None = None) -> None:
        """The opinions that a delayed network still owes of frames up to ``last`` (default: the newest)."""
        last = last or self._last
        if last is not None:
            self._times.resume()
            self._tell(self._recogniser.flush(), self._clock() - last.captured_ns)

    # ---- events, to all sinks

    def _tell(self, opinions: Sequence[Opinion], latency_ns: int) -> None:
        for opinion in opinions:
            event = event_of(opinion, self._recogniser.labels, round(latency_ns / 1e6, 3))
            self._emit(event)
            self._results += 1
            if isinstance(event, Result):
                self._emit_all(self._segmenter.step(event))

    def _emit_all(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._emit(segment)
            self._segments += 1

    def _emit(self, event: Event) -> None:
        self._fanout.emit(event)

    def _delivered(self, event: Event, queued_ns: int, done_ns: int) -> None:
        if isinstance(event, Result | Features):
            self._times.tell("sinks", queued_ns, done_ns, event.frame)

    def _start(self) -> Start:
        return Start(
            version=__version__,
            source=self._source.info.name,
            models=dict(self._lineup.models),
            labels=self._recogniser.labels,
            hop=self._recogniser.hop,
            fps=self._recogniser.fps,
            policy=self._governor.policy.name,
            background=self._recogniser.background,
            threads=self._threads,
            lanes=self._lanes,
        )

    # ---- the end

    def _fail(self, error: Exception) -> None:
        """End the run for this reason; the first one is raised once everything is written."""
        if self._failure is None:
            self._failure = error
        self._stop.request("source-lost" if isinstance(error, SourceLostError) else "error")

    def _finish(self, incoming: Incoming) -> Summary:
        incoming.abandon()
        self._source.interrupt()
        self._thread.join(CAPTURE_END_S)
        self._emit_all(self._segmenter.finish())
        try:
            frames = self.account.close()
        except AccountingError as error:  # a bug of ours, and all the more to be written down
            self._fail(error)
            frames = self.account.snapshot()
        if self._failure is not None:
            t = self._last.t if self._last else None
            self._emit(Fault(self._stop.reason or "error", t, {"message": redact(str(self._failure))}))
        summary = Summary(
            frames=frames,
            stages=self._monitor.summary(),
            results=self._results,
            segments=self._segments,
            duration_s=round((self._clock() - self._begun_ns) / 1e9, 3),
            ended_by=self._stop.reason or self._ended_by,
            models=dict(self._lineup.models),
            providers=dict(self._lineup.providers),
            sinks=self._fanout.tallies(),
        )
        self._emit(summary)
        self._stuck = self._fanout.close(PATIENT_END_S, END_S)
        if not self._thread.is_alive():
            self._source.close()
        return summary
