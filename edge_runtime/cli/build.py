"""From the options of ``edge-run`` to a pipeline: first what can be wrong without a camera, then the rest."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.cli.outputs import Run, open_sinks
from edge_runtime.cli.watch import WatchOptions
from edge_runtime.errors import InputError
from edge_runtime.memory import give_back
from edge_runtime.models.zoo import in_precision
from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.assembly import Models, check_content, load_fallback, load_models, open_recogniser
from edge_runtime.pipeline.budgets import Budgets, read_overrides
from edge_runtime.pipeline.clock import StopFlag
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline, RunLimits
from edge_runtime.pipeline.policy import choose
from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.pipeline.succession import FALLBACK, Lineup, Muted, Successor, Traits
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.segments import Hysteresis
from edge_runtime.sources.base import Source
from edge_runtime.sources.open import check_source_options, open_source, waits
from edge_runtime.streams.observer import Observer
from edge_runtime.streams.threads import ThreadChoice, choose_threads
from edge_runtime.systemd import Ward

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run whose options were checked and whose models are open; neither its source nor an output is yet.

    It may be opened again once a run has ended.
    """

    options: argparse.Namespace
    watch: WatchOptions
    hysteresis: Hysteresis
    overrides: dict[str, float] | None
    traits: Traits  # of the models, and of any that take over; the hop is the one asked for
    lineup: Lineup
    times: StageTimes
    threads: ThreadChoice

    def open(self, stop: StopFlag, ward: Ward, before_outputs: Callable[[], None] = lambda: None) -> Pipeline:
        """Open the source, then the outputs, so that a source that fails leaves no file behind.

        Args:
            stop: ends the run.
            ward: is told who knows how the run is doing.
            before_outputs: called once the source is open.

        Raises:
            InputError: the source or an output cannot be used.
            SourceLostError: a live source does not answer.
        """
        source = open_source(self.options, self.traits.frame_rate)
        self.times.forget_watchers()
        if self.lineup.successor is not None:  # all begin cold: there is nothing to warm up beside
            self.lineup.take_over(self.lineup.successor)
        for recogniser in self.lineup.recognisers.values():
            recogniser.run_at(self.traits.hop)
            recogniser.reset()
        try:
            check_content(self.traits.input, source.info.content, source.info.name)
            before_outputs()
            return self._assemble(source, stop, ward)
        except BaseException:
            source.close()
            raise

    def _assemble(self, source: Source, stop: StopFlag, ward: Ward) -> Pipeline:
        options, info, main = self.options, source.info, self.lineup.recognisers["main"]
        fps = min(self.traits.frame_rate, info.fps or self.traits.frame_rate)
        monitor = StageMonitor(Budgets.derive(fps, main.hop, options.deadline_ms, self.overrides), self.times)
        account = Account()
        outputs = open_sinks(options, Run(info, main.labels, account, monitor, self.times), self.watch)
        ward.health = outputs.health
        return Pipeline(
            source,
            self.lineup,
            outputs.sinks,
            chosen=choose(
                options.policy,
                live=info.live,
                hop=main.hop,
                clip_length=main.clip_length,
                fallback="fallback" in self.lineup.recognisers,
            ),
            times=self.times,
            monitor=monitor,
            hysteresis=self.hysteresis,
            limits=RunLimits(options.max_frames, options.duration),
            account=account,
            stop=stop,
            threads=self.threads.threads,
        )

    @property
    def reloads(self) -> tuple[Callable[[], None], ...]:
        """What SIGHUP reads again: thresholds, and models."""
        return self.watch.reload, self._renew

    def _renew(self) -> None:
        """Let the model files that now lie where the present ones did take over, where they are others.

        Raises:
            InputError: they cannot be used, or do not answer as the present ones do.
        """
        models = _load(self.options)
        described = models.described()
        if all(self.lineup.models.get(role) == about for role, about in described.items()):
            self.lineup.successor = None  # rolled back before it was warm
            return
        observer = Muted(self.times.lap)
        recogniser, providers = _open_models(models, self.options, self.threads, observer)
        self.traits.check_same(_traits(models, recogniser), str(models.main.path))
        log.info("model %s: warming up beside the present one", models.main.path)
        self.lineup.successor = Successor(recogniser, described, providers, observer)


def prepare(options: argparse.Namespace) -> Prepared:
    """Check the options and open the models.

    Raises:
        InputError: one of them cannot be used.
    """
    check_source_options(options)
    hysteresis = Hysteresis(options.enter, options.leave, options.min_duration, options.smoothing)
    overrides = read_overrides(options.budgets) if options.budgets else None
    watch = WatchOptions(options)
    models = _load(options)
    threads = _threads(models, options)
    times = StageTimes()
    recogniser, providers = _open_models(models, options, threads, times.lap)
    recognisers, described = {"main": recogniser}, models.described()
    if options.fallback_model:
        if options.policy not in ("auto", "degrade"):
            raise InputError(f"--fallback-model is for --policy degrade; --policy {options.policy} never turns to it")
        smaller = load_fallback(options.fallback_model, models)
        recognisers["fallback"], theirs = _open_models(smaller, options, threads, times.lap)
        described |= {FALLBACK + role: about for role, about in smaller.described().items()}
        providers |= {FALLBACK + stage: provider for stage, provider in theirs.items()}
    traits = _traits(models, recogniser)
    lineup = Lineup(recognisers, described, providers)
    del models  # their bytes; the sessions have their own
    give_back()
    return Prepared(options, watch, hysteresis, overrides, traits, lineup, times, threads)


def _traits(models: Models, recogniser: Recogniser) -> Traits:
    return Traits(models.content, models.fps, recogniser.hop, models.delay, models.labels)


def _load(options: argparse.Namespace) -> Models:
    return load_models(in_precision(_model(options), options.precision), options.head)


def _threads(models: Models, options: argparse.Namespace) -> ThreadChoice:
    """As many as asked for, in one lane; else what a measurement says."""
    if options.threads:
        return ThreadChoice(options.threads, 1, {})
    waiting = options.policy == "block" or (options.policy == "auto" and waits(options))
    return choose_threads(models.main, hop=options.hop, provider=options.provider, waiting=waiting)


def _open_models(
    models: Models, options: argparse.Namespace, threads: ThreadChoice, observe: Observer
) -> tuple[Recogniser, dict[str, str]]:
    return open_recogniser(
        models,
        observe=observe,
        hop=options.hop,
        threads=threads.threads,
        lanes=threads.lanes,
        provider=options.provider,
        spin=options.spin,
    )


def _model(options: argparse.Namespace) -> str:
    if options.model:
        return str(options.model)
    if options.demo:
        return "demo"
    raise InputError("--model is missing: give an imfe.onnx, an rtstgcn.onnx, or a name that edge-inspect --zoo lists")
