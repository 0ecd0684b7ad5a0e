"""From the options of ``edge-run`` to a pipeline: first what can be wrong without a camera, then the rest."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from edge_runtime.cli.outputs import Run, open_sinks
from edge_runtime.cli.watch import WatchOptions
from edge_runtime.errors import InputError
from edge_runtime.models.zoo import in_precision
from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.assembly import Models, check_content, load_fallback, load_models, open_recogniser
from edge_runtime.pipeline.budgets import Budgets, StageMonitor, read_overrides
from edge_runtime.pipeline.clock import StopFlag
from edge_runtime.pipeline.pipeline import Limits, Pipeline
from edge_runtime.pipeline.policy import choose
from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.pipeline.succession import Muted, Successor
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.segments import Hysteresis
from edge_runtime.sources.base import Source
from edge_runtime.sources.open import open_source
from edge_runtime.streams.observer import Observer
from edge_runtime.streams.threads import choose_threads
from edge_runtime.systemd import Supervisor

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
    models: Models
    recognisers: dict[str, Recogniser]
    hop: int  # asked for; policy degrade may have left another
    times: StageTimes
    threads: int
    described: dict[str, Any]
    providers: dict[str, str]

    def open(
        self, stop: StopFlag, before_outputs: Callable[[], None] = lambda: None
    ) -> tuple[Pipeline, AbstractContextManager[Any]]:
        """Open the source, then the outputs, so that a source that fails leaves no file behind.

        Args:
            stop: ends the run.
            before_outputs: called once the source is open.

        Returns:
            The pipeline, and what must be entered while it runs.

        Raises:
            InputError: the source or an output cannot be used.
            SourceLostError: a live source does not answer.
        """
        source = open_source(self.options, self.models.fps)
        self.times.forget_watchers()
        for recogniser in self.recognisers.values():
            recogniser.run_at(self.hop)
            recogniser.reset()
        try:
            check_content(self.models, source.info.content, source.info.name)
            before_outputs()
            return self._assemble(source, stop)
        except BaseException:
            source.close()
            raise

    def _assemble(self, source: Source, stop: StopFlag) -> tuple[Pipeline, AbstractContextManager[Any]]:
        options, info, main = self.options, source.info, self.recognisers["main"]
        fps = min(self.models.fps, info.fps or self.models.fps)
        monitor = StageMonitor(Budgets.derive(fps, main.hop, options.deadline_ms, self.overrides))
        account = Account()
        sinks, supervisor = open_sinks(options, Run(info, main.labels, account, monitor, self.times), self.watch)
        pipeline = Pipeline(
            source,
            self.recognisers,
            sinks,
            chosen=choose(
                options.policy,
                live=info.live,
                hop=main.hop,
                clip_length=main.clip_length,
                fallback="fallback" in self.recognisers,
            ),
            times=self.times,
            monitor=monitor,
            hysteresis=self.hysteresis,
            limits=Limits(options.max_frames, options.duration),
            models=self.described,
            providers=self.providers,
            account=account,
            stop=stop,
        )
        if isinstance(supervisor, Supervisor):
            supervisor.reloads.append(lambda: self._renew(pipeline))
        return pipeline, supervisor

    def _renew(self, pipeline: Pipeline) -> None:
        """Let the model files that now lie where the present ones did take over, where they are others.

        Raises:
            InputError: they cannot be used, or do not answer as the present ones do.
        """
        models = _load(self.options)
        described = models.described()
        if all(pipeline.models.get(role) == about for role, about in described.items()):
            return
        observer = Muted(self.times)
        recogniser, _ = _open_models(models, self.options, self.threads, observer)
        for what, own, wanted in (
            ("input", models.content, self.models.content),
            ("frame rate", models.fps, self.models.fps),
            ("hop", recogniser.hop, self.hop),
            ("delay", models.delay, self.models.delay),
            ("labels", models.labels, self.models.labels),
        ):
            if own != wanted:
                raise InputError(
                    f"model {models.main.path}: its {what} must be the running model's, {wanted}; found {own}; "
                    "restart to change it"
                )
        log.info("model %s: warming up beside the present one", models.main.path)
        pipeline.succeed(Successor(recogniser, described, observer))


def prepare(options: argparse.Namespace) -> Prepared:
    """Check the options and open the models.

    Raises:
        InputError: one of them cannot be used.
    """
    hysteresis = Hysteresis(options.enter, options.leave, options.min_duration, options.smoothing)
    overrides = read_overrides(options.budgets) if options.budgets else None
    watch = WatchOptions(options)
    models = _load(options)
    threads = options.threads or choose_threads(models.main, hop=options.hop, provider=options.provider).threads
    times = StageTimes()
    recogniser, providers = _open_models(models, options, threads, times)
    recognisers, described = {"main": recogniser}, models.described()
    if options.fallback_model:
        if options.policy not in ("auto", "degrade"):
            raise InputError(f"--fallback-model is for --policy degrade; --policy {options.policy} never turns to it")
        smaller = load_fallback(options.fallback_model, models)
        recognisers["fallback"], theirs = _open_models(smaller, options, threads, times)
        described |= {f"fallback {role}": about for role, about in smaller.described().items()}
        providers |= {f"fallback {stage}": provider for stage, provider in theirs.items()}
    return Prepared(
        options, watch, hysteresis, overrides, models, recognisers, recogniser.hop, times, threads, described, providers
    )


def _load(options: argparse.Namespace) -> Models:
    return load_models(in_precision(_model(options), options.precision), options.head)


def _open_models(
    models: Models, options: argparse.Namespace, threads: int, observe: Observer
) -> tuple[Recogniser, dict[str, str]]:
    return open_recogniser(
        models, observe=observe, hop=options.hop, threads=threads, provider=options.provider, spin=options.spin
    )


def _model(options: argparse.Namespace) -> str:
    if options.model:
        return str(options.model)
    if options.demo:
        return "demo"
    raise InputError("--model is missing: give an imfe.onnx, an rtstgcn.onnx, or a name that edge-inspect --zoo lists")
