"""Quantize an RT-ST-GCN: its MatMuls to int8, its state left in fp32, the decision written into the file."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile, verify
from edge_runtime.models.metadata import Precision, RtStgcnMetadata, to_props
from edge_runtime.quantization import auto
from edge_runtime.quantization.auto import Choice, Form
from edge_runtime.quantization.calibration import activation_ranges
from edge_runtime.quantization.matmul import find
from edge_runtime.quantization.measure import LogitParity, Paired, clock_of, take_turns
from edge_runtime.streams.rtstgcn import RtStgcnStream

Array = npt.NDArray[np.float32]
Trial = npt.NDArray[np.number[Any]]  # (L, C, V), raw units
Mode = Literal["dynamic", "static", "auto"]

MIN_STEPS = 2000  # of the given data that are used, where there are as many: 2 s of a parity run on a desktop
FIELDS = 2  # receptive fields that are used at least: within the first, sums are smaller than in a stream that goes on
RANDOM_STEPS = 300
SPEED_STEPS = 400


@dataclass(frozen=True, slots=True)
class Quantized:
    """The new model and what it was found to be."""

    file: ModelFile
    choices: list[Choice]
    parity: LogitParity
    speed: Paired  # original first
    on_data: bool  # False: parity is on random input, which says little


def quantize_rtstgcn(
    original: ModelFile, mode: Mode, trials: Sequence[Trial] | None = None, *, threads: int = 1
) -> Quantized:
    """Quantize and measure; nothing is written to disk.

    Args:
        original: an fp32 RT-ST-GCN.
        mode: ``dynamic`` and ``static`` take every product there is; ``auto`` keeps only what wins (see ``auto``).
        trials: real input, (L, C, V) each, raw units. ``static`` needs it; parity is measured on it. Some of it is
            used, from all over (see ``_checked``).
        threads: threads inside one operator when timing.

    Raises:
        InputError: not an fp32 RT-ST-GCN, no product to quantize, static without data, data of another shape.
    """
    meta = original.metadata
    if not isinstance(meta, RtStgcnMetadata):
        raise InputError(f"{original.path}: expected an RT-ST-GCN, found a model of kind '{meta.kind}'")
    if meta.precision != "fp32":
        raise InputError(f"{original.path}: is {meta.precision} already; quantize the fp32 original")
    if mode == "static" and trials is None:
        raise InputError("static quantization needs data to calibrate on: --calibrate FILE.npy")
    products = find(original.proto)
    if not products:
        raise InputError(f"{original.path}: holds no product worth quantizing; it is small enough as it is")

    given = _checked(trials, meta) if trials is not None else [_random_trial(meta)]
    expected = _logits(original, given)
    ranges = None
    if trials is not None and mode != "dynamic":
        by_activation = activation_ranges(original, {product.activation for product in products}, given)
        ranges = {product.output: by_activation[product.activation] for product in products}

    def parity(model: onnx.ModelProto) -> LogitParity:
        return LogitParity.of(expected, _logits(replace(original, proto=model, data=model.SerializeToString()), given))

    if mode == "auto":
        choices = auto.search(original.proto, meta.graph.num_node, ranges, parity, threads)
    else:
        form: Form = "int8-dynamic" if mode == "dynamic" else "int8-static"
        choices = [Choice(item.output, (item.inner, item.outer), form, f"--mode {mode}") for item in products]
    candidate = auto.apply(original.proto, choices, ranges)
    found = parity(candidate)
    speed = _paired_speed(original, replace(original, data=candidate.SerializeToString()), threads)
    if mode == "auto" and speed.ratio[1] < auto.MIN_GAIN:
        little = f"but the whole network gains too little: {speed.ratio[1]:.2f}x"
        choices = [
            choice if choice.form == "fp32" else replace(choice, form="fp32", why=f"{choice.why}; {little}")
            for choice in choices
        ]
        candidate, found = original.proto, LogitParity.of(expected, expected)
    new = _describe(original, meta, candidate, mode, choices, found, speed, on_data=trials is not None)
    return Quantized(new, choices, found, speed, on_data=trials is not None)


def _describe(
    original: ModelFile,
    meta: RtStgcnMetadata,
    proto: onnx.ModelProto,
    mode: Mode,
    choices: list[Choice],
    parity: LogitParity,
    speed: Paired,
    *,
    on_data: bool,
) -> ModelFile:
    """The quantized model with its decision in the metadata, verified as if read from disk."""
    decision: dict[str, Any] = {
        "mode": mode,
        "original_sha256": original.sha256,
        "measured_on": f"{platform.machine()}, onnxruntime {ort.__version__}",
        "speedup": round(speed.ratio[1], 3),
        "max_logit_error": parity.max_error,
        "label_agreement": parity.agreement,
        "parity_input": f"{parity.steps} steps of {'the given data' if on_data else 'random numbers'}",
        "products": {choice.output: f"{choice.form} ({choice.why})" for choice in choices},
    }
    labelled = onnx.ModelProto()
    labelled.CopyFrom(proto)
    del labelled.metadata_props[:]
    metadata = replace(meta, precision=_precision(choices), quantization=decision)
    onnx.helper.set_model_props(labelled, to_props(metadata))
    return verify(original.path, labelled.SerializeToString())


def _precision(choices: list[Choice]) -> Precision:
    forms = {choice.form for choice in choices} - {"fp32"}
    if not forms:
        return "fp32"
    return next(iter(forms)) if len(forms) == 1 else "int8-mixed"


def _checked(trials: Sequence[Trial], meta: RtStgcnMetadata) -> list[Array]:
    """Whole trials from all over ``trials``, evenly spaced, until there are enough steps; the last may be cut short.

    Enough is ``MIN_STEPS``, or ``FIELDS`` receptive fields.
    """
    for trial in trials:
        if trial.ndim != 3 or trial.shape[1:] != (meta.in_channels, meta.graph.num_node) or not len(trial):
            raise InputError(
                f"calibration data: expected {meta.in_channels} channels x {meta.graph.num_node} nodes, "
                f"found a trial (steps, channels, nodes) of {trial.shape}"
            )
    enough = max(MIN_STEPS, FIELDS * meta.receptive_field)
    apart = max(1, sum(map(len, trials)) // enough)
    taken: list[Array] = []
    for trial in trials[::apart]:
        left = enough - sum(map(len, taken))
        if left > 0:
            taken.append(np.asarray(trial[:left], np.float32))
    return taken


def _random_trial(meta: RtStgcnMetadata) -> Array:
    shape = (RANDOM_STEPS, meta.in_channels, meta.graph.num_node)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _logits(file: ModelFile, trials: Sequence[Array]) -> Array:
    """Logits ``(steps, classes)`` of all trials, each from a fresh state."""
    stream = RtStgcnStream(file)
    parts = []
    for trial in trials:
        stream.reset()
        parts.append(stream.steps(trial))
    return np.concatenate(parts)


def _paired_speed(original: ModelFile, other: ModelFile, threads: int) -> Paired:
    x = _random_trial(original.metadata)[0] if isinstance(original.metadata, RtStgcnMetadata) else np.zeros(0)
    streams = [RtStgcnStream(file, threads=threads) for file in (original, other)]
    return take_turns([lambda s=stream: s.step(x) for stream in streams], SPEED_STEPS, clock_ns=clock_of(threads))  # type: ignore[misc]
