"""int8 for an IMFE, stage by stage: what wins on this machine and stays within the parity bound is kept.

Each stage has its own candidates, since each is another kind of work:

    encoder, head   convolutions      static, the calibration method of best parity; dynamic cannot win (ConvInteger)
    motion          one MatMul by a   dynamic or static for the MatMul; static also for the convolution, whose kernel
                    constant, one     is computed at run time and gets a range like an activation
                    convolution

Stages hand each other fp32, so their choices are independent and the step graph is the chosen stages side by side.
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.quantization.calibrate import TensorsData

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile, verify
from edge_runtime.models.metadata import ImfeMetadata, Precision, to_props
from edge_runtime.models.session import ORT_ERRORS, open_session
from edge_runtime.models.stages import cut
from edge_runtime.quantization import matmul
from edge_runtime.quantization.assembly import assemble
from edge_runtime.quantization.measure import take_turns
from edge_runtime.quantization.qdq import METHODS, Feed, Method, cosine, insert_qdq, measure_ranges
from edge_runtime.streams import open_head_stream

Floats = npt.NDArray[np.float32]
Mode = Literal["dynamic", "static", "auto"]
Say = Callable[[str], None]

PARITY_BOUND = 0.995  # mean cosine of `features` to fp32
# A stage's own bound: three stages in a row that each keep it keep the whole's with room to spare.
STAGE_BOUND = 0.998
MIN_GAIN = 1.05  # a stage in int8 must be this much faster: below that the difference is within the noise of a pairing
MAX_KEPT_FLOAT = 6  # layers a stage may leave in fp32 because they hurt, before the stage as a whole is left
PAIRED_RUNS = 15
_REFUSALS: tuple[type[Exception], ...] = (*ORT_ERRORS, InputError)
REFUSED = -1.0  # stands for the cosine of a model that this onnxruntime cannot run
# Concat and the rest stay fp32: they are a few per cent of the work, and exact.
_CONVOLUTIONS = ("Conv", "Add", "Relu")
OPERATORS = {
    "encoder": _CONVOLUTIONS,
    "motion": ("MatMul", "Conv"),
    "head": _CONVOLUTIONS,
    "appearance": _CONVOLUTIONS,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute a stage, and how it compares to fp32 on this machine."""

    stage: str
    how: str  # "fp32", "dynamic", "static (entropy)", ...
    model: onnx.ModelProto
    cosine: float = 1.0  # mean over the check clips, of the stage's own output fed with fp32's inputs
    speedup: float = 1.0  # median of paired runs
    ms: float = 0.0
    kept_float: tuple[str, ...] = ()

    @property
    def wins(self) -> bool:
        return self.how == "fp32" or (self.cosine >= STAGE_BOUND and self.speedup >= MIN_GAIN)


@dataclass(frozen=True, slots=True)
class FeatureParity:
    """The whole int8 network beside fp32 on the check clips."""

    clips: int
    cosine_mean: float
    cosine_p1: float
    agreement: float | None  # share of equal top-1 labels through the head, None without a head


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new model, what each stage became and what else was tried."""

    file: ModelFile
    chosen: Mapping[str, Candidate]
    tried: Sequence[Candidate]
    parity: FeatureParity


def quantize_imfe(
    file: ModelFile,
    clips: Sequence[npt.NDArray[np.uint8]],
    mode: Mode,
    *,
    head: ModelFile | None = None,
    say: Say,
) -> Outcome:
    """An IMFE in int8.

    Args:
        file: an fp32 IMFE; left as it is.
        clips: uint8 RGB (clip_length, H, W, 3); every other one calibrates, the rest check.
        mode: ``static`` and ``dynamic`` give each stage that form even where it loses (only layers that hurt stay
            fp32); ``auto`` keeps per stage what wins.
        head: fed with the regions of the check clips, one after the other, for the agreement of labels.
        say: told each finding as it comes.

    Raises:
        InputError: not an fp32 IMFE, or ``auto`` cannot meet the bound.
    """
    metadata = file.metadata
    if not isinstance(metadata, ImfeMetadata) or metadata.precision != "fp32":
        raise InputError(f"{file.path}: expected an fp32 IMFE; quantize the original")
    floats = {name: _named(cut(file.proto, stage)) for name, stage in metadata.stages.items()}
    feeds = _feeds(floats, metadata, clips[::2])
    checks = _feeds(floats, metadata, clips[1::2])
    tried: list[Candidate] = []
    chosen: dict[str, Candidate] = {}
    for name, model in floats.items():
        of_stage = [Candidate(name, "fp32", model)]
        for candidate in _candidates(name, model, mode, feeds[name], checks[name]):
            if candidate.cosine == REFUSED:
                say(f"{name}: {candidate.how}: onnxruntime {ort.__version__} cannot run it here")
                continue
            measured = _time_against(model, candidate, checks[name][0])
            of_stage.append(measured)
            say(_describe(measured))
        tried += of_stage
        chosen[name] = _choose(of_stage, mode)
        say(f"{name}: {chosen[name].how}")
    while True:
        quantized = assemble(file.proto, metadata, {name: choice.model for name, choice in chosen.items()})
        parity = compare(file.proto, quantized, metadata, clips[1::2], head)
        if mode != "auto" or parity.cosine_mean >= PARITY_BOUND or all(c.how == "fp32" for c in chosen.values()):
            break
        worst = min((c for c in chosen.values() if c.how != "fp32"), key=lambda c: c.cosine)
        say(f"{worst.stage}: back to fp32, together the stages miss the bound ({parity.cosine_mean:.4f})")
        chosen[worst.stage] = Candidate(worst.stage, "fp32", floats[worst.stage])
    _write_metadata(quantized, file, metadata, mode, chosen, parity)
    return Outcome(verify(file.path, quantized.SerializeToString()), chosen, tried, parity)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, every node with a name: layers are left in fp32 by name."""
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    return model


def _candidates(
    stage: str, model: onnx.ModelProto, mode: Mode, feeds: Sequence[Feed], checks: Sequence[Feed]
) -> list[Candidate]:
    found = []
    if mode in ("dynamic", "auto"):
        outputs = [product.output for product in matmul.find(model)]
        if outputs:
            dynamic = matmul.quantize(model, dynamic=outputs)
            found.append(Candidate(stage, "dynamic", dynamic, _agreement(model, dynamic, checks)))
    if mode in ("static", "auto"):
        present = {node.op_type for node in model.graph.node}
        kinds = [("MatMul",), OPERATORS[stage]] if stage == "motion" else [OPERATORS[stage]]
        found += [
            _static(stage, model, operators, feeds, checks) for operators in kinds if present.intersection(operators)
        ]
    return found


def _static(
    stage: str, model: onnx.ModelProto, operators: tuple[str, ...], feeds: Sequence[Feed], checks: Sequence[Feed]
) -> Candidate:
    """The calibration method of best parity, then layers back to fp32 while that is needed, the worst first."""
    edge = _edge_layer(stage, model)
    best: tuple[float, Method, TensorsData, onnx.ModelProto] | None = None
    for method in METHODS:
        ranges = measure_ranges(model, feeds, method, operators)
        quantized = insert_qdq(model, ranges, operators, keep_float=edge)
        value = _agreement(model, quantized, checks)
        if best is None or value > best[0]:
            best = value, method, ranges, quantized
    assert best is not None
    value, method, ranges, quantized = best
    kept = list(edge)
    if value < STAGE_BOUND:
        for layer in _most_harmful(model, ranges, operators, edge, checks)[:MAX_KEPT_FLOAT]:
            kept.append(layer)
            quantized = insert_qdq(model, ranges, operators, keep_float=kept)
            value = _agreement(model, quantized, checks)
            if value >= STAGE_BOUND:
                break
    how = f"static {'+'.join(op for op in operators if op in ('MatMul', 'Conv'))} ({method})"
    return Candidate(stage, how, quantized, value, kept_float=tuple(kept))


def _edge_layer(stage: str, model: onnx.ModelProto) -> list[str]:
    """The network's first and last convolution: pixels and features are worth more than the few per cent they cost."""
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    first, last = convolutions[:1], convolutions[-1:]
    return {"encoder": first, "head": last, "appearance": first + last}.get(stage, [])


def _most_harmful(
    model: onnx.ModelProto,
    ranges: TensorsData,
    operators: Collection[str],
    edge: Collection[str],
    checks: Sequence[Feed],
) -> list[str]:
    """Convolutions and MatMuls by how far the output turns when that one alone is in int8, worst first."""
    layers = [
        node.name for node in model.graph.node if node.op_type in ("Conv", "MatMul") and node.op_type in operators
    ]
    few = checks[:4]
    alone = {
        layer: _agreement(
            model, insert_qdq(model, ranges, ("Conv", "MatMul"), keep_float=[n for n in layers if n != layer]), few
        )
        for layer in layers
        if layer not in edge
    }
    return sorted(alone, key=alone.__getitem__)


def _choose(candidates: Sequence[Candidate], mode: Mode) -> Candidate:
    if mode == "auto":
        return max((c for c in candidates if c.wins), key=lambda c: c.speedup)
    return max(candidates[1:] or candidates, key=lambda c: c.speedup)


def _time_against(model: onnx.ModelProto, candidate: Candidate, feed: Feed) -> Candidate:
    """The candidate with its speed beside fp32 on one thread."""
    pair = [partial(_runner(m), feed) for m in (model, candidate.model)]
    paired = take_turns(pair, PAIRED_RUNS, clock_ns=time.thread_time_ns)
    return dataclasses.replace(candidate, speedup=paired.ratio[1], ms=paired.median_us[1] / 1e3)


def _describe(c: Candidate) -> str:
    kept = f", {len(c.kept_float)} layers left in fp32" if c.kept_float else ""
    return f"{c.stage}: {c.how}: cosine {c.cosine:.5f}, {c.speedup:.2f}x as fast ({c.ms:.2f} ms){kept}"


def _runner(model: onnx.ModelProto, threads: int = 1) -> Callable[[Feed], list[Floats]]:
    session = open_session(model.SerializeToString(), threads=threads).ort

    def run(feed: Feed) -> list[Floats]:
        outputs: list[Floats] = session.run(None, dict(feed))
        return outputs

    return run


def _agreement(model: onnx.ModelProto, quantized: onnx.ModelProto, checks: Sequence[Feed]) -> float:
    """Mean cosine of the first output, or `REFUSED`."""
    try:
        run = _runner(quantized)
        reference = _runner(model)
        return statistics.fmean(cosine(reference(feed)[0], run(feed)[0]) for feed in checks)
    except _REFUSALS:
        return REFUSED


def _feeds(
    stages: Mapping[str, onnx.ModelProto], metadata: ImfeMetadata, clips: Sequence[npt.NDArray[np.uint8]]
) -> dict[str, list[Feed]]:
    """What each stage is fed with, computed in fp32, once a clip."""
    encode, compare_pair = _runner(stages["encoder"]), _runner(stages["motion"])
    head_input = metadata.stages["head"].inputs[0]
    look = _runner(stages["appearance"]) if metadata.has_appearance else None
    feeds: dict[str, list[Feed]] = {name: [] for name in metadata.stages}
    for i, clip in enumerate(clips):
        fmaps = [encode({"frame": frame[None]})[0] for frame in clip]
        pairs = [{"previous_fmap": a, "fmap": b} for a, b in pairwise(fmaps)]
        feeds["encoder"].append({"frame": clip[i % len(clip)][None]})
        feeds["motion"].append(pairs[i % len(pairs)])
        feeds["head"].append({head_input: np.concatenate([compare_pair(pair)[0] for pair in pairs], axis=1)})
        if look is not None:
            central: Feed = {"central_frame": clip[-1 - metadata.central_lag][None]}
            feeds["appearance"].append(central)
            feeds["head"][-1] = {**feeds["head"][-1], "appearance": look(central)[0]}
    return feeds


def compare(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    metadata: ImfeMetadata,
    clips: Sequence[npt.NDArray[np.uint8]],
    head: ModelFile | None = None,
) -> FeatureParity:
    """Both networks on the same clips, end to end."""
    networks = [_network(model, metadata) for model in (original, quantized)]
    heads = [open_head_stream(head) for _ in networks] if head is not None else []
    cosines, same = [], []
    for clip in clips:
        outputs = [network(clip) for network in networks]
        cosines.append(cosine(outputs[0][0], outputs[1][0]))
        labels = {int(gcn.step(regions[0]).argmax()) for gcn, (_, regions) in zip(heads, outputs, strict=False)}
        same.append(len(labels) == 1)
    return FeatureParity(
        len(clips),
        statistics.fmean(cosines),
        float(np.percentile(cosines, 1)),
        statistics.fmean(same) if heads else None,
    )


def _network(
    model: onnx.ModelProto, metadata: ImfeMetadata
) -> Callable[[npt.NDArray[np.uint8]], tuple[Floats, Floats]]:
    """clip (clip_length, H, W, 3) -> features, regions."""
    stages = {name: cut(model, stage) for name, stage in metadata.stages.items()}
    describe = _runner(stages["head"])
    make_feeds = partial(_feeds, stages, metadata)

    def run(clip: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        features, regions = describe(make_feeds([clip])["head"][0])
        return features, regions

    return run


def _write_metadata(
    model: onnx.ModelProto,
    original: ModelFile,
    metadata: ImfeMetadata,
    mode: Mode,
    chosen: Mapping[str, Candidate],
    parity: FeatureParity,
) -> None:
    """What was decided, and why, travels with the file."""
    forms = {choice.how.split()[0] for choice in chosen.values()}
    precision: Precision = "fp32"
    if "static" in forms:
        precision = "int8-static" if mode == "static" else "int8-mixed"
    elif "dynamic" in forms:
        precision = "int8-dynamic"
    decision: dict[str, Any] = {
        "mode": mode,
        "original_sha256": original.sha256,
        "measured_on": f"{platform.machine()}, onnxruntime {ort.__version__}",
        "stages": {
            name: {
                "how": choice.how,
                "cosine": round(choice.cosine, 6),
                "speedup": round(choice.speedup, 3),
                "kept_float": list(choice.kept_float),
            }
            for name, choice in chosen.items()
        },
        "parity": {key: value for key, value in dataclasses.asdict(parity).items() if value is not None},
    }
    props = to_props(dataclasses.replace(metadata, precision=precision, quantization=decision))
    onnx.helper.set_model_props(model, props)
