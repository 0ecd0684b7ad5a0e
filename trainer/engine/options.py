"""What a configuration file says about training: the published keys, ours beside them, and typos told from extras.

Published: ``processor`` (data, out, actions, graph, demo, iou_threshold), ``optimizer`` (seed, epochs, learning_rate,
learning_rate_decay, batch_size) and ``arch.segment``; the old dialect has ``model`` for the first
and third. A key that nobody knows is kept and shown; one that nearly is a known key is refused as a typo.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edge_runtime.errors import InputError
from trainer.data.augment import Augmentation
from trainer.data.streams import Stream
from trainer.losses import LossSettings

# keys of the published files that mean nothing here: hardware of their cluster, a flag without effect
PUBLISHED_EXTRAS = frozenset(
    {"backup", "backend", "buffer", "checkpoint_indices", "output_type", "email", "log", "verbose"}
)


@dataclass(frozen=True, slots=True)
class OptimizerOptions:
    """Section ``optimizer``.

    Args:
        batch_size: trials an optimizer step, over all processes.
        crop: frames a trial is cut to at random, so that ``together`` trials run at once; 0 = whole trials, one by one
            (published).
        lead: frames at the start of a cut trial that count for nothing, unless the trial begins there.
        learning_rate_decay: factor every 10 epochs, with the schedule ``step`` (published).
        warmup: epochs of linear rise.
        ema: decay of the averaged weights that are tested and kept; 0 = the last step's.
        patience: epochs without a better ``monitor`` until training stops; 0 = never.
        monitor: metric that chooses the best epoch.
        clip_norm: largest norm of the gradient; 0 = any.
        qat: round as a device's int8 does (RT-ST-GCN; from a trained network, see ``--init``).
        every: train on every n-th frame's output (RT-ST-GCN whose later dilations are multiples of n: exact).
        class_weights: ``rarity`` is the published 1 - frequency.
        test_every: epochs between validations.
    """

    seed: int = 1538574472
    epochs: int = 100
    batch_size: int = 16
    learning_rate: float = 5e-4
    learning_rate_decay: float = 1.0
    kind: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "step"
    warmup: float = 0.0
    ema: float = 0.0
    patience: int = 0
    monitor: str = "f1@50"
    clip_norm: float = 0.0
    amp: bool = False
    qat: bool = False
    crop: int = 0
    lead: int = 0
    together: int = 1
    every: int = 1
    class_weights: Literal["rarity", "inverse_root", "none"] = "rarity"
    test_every: int = 1


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The data part of ``processor`` (or ``model``): where trials come from, where results go.

    Args:
        demo: trials whose segmentation is drawn by ``test``.
        stream: what the network sees: the joints, the bones between them, or their motion.
    """

    data: Path
    out: Path
    dataset_type: Literal["dir", "file"] = "dir"
    demo: tuple[int, ...] = ()
    iou_threshold: tuple[float, ...] = (0.1, 0.25, 0.5)
    stream: Stream = "joint"


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Everything about a training but the network."""

    data: DataOptions
    optimizer: OptimizerOptions
    loss: LossSettings
    augment: Augmentation
    segment: int
    unknown: tuple[str, ...] = field(default=())  # kept in the file, used by nobody


# what sections shared with the network's own options hold for the training
TRAINING_KEYS = frozenset(
    {item.name for item in dataclasses.fields(DataOptions)} | {"segment", "actions"} | PUBLISHED_EXTRAS
)


def read_training(raw: dict[str, Any], origin: str) -> TrainingOptions:
    """The training part of a configuration.

    Raises:
        InputError: a value of the wrong type, a required key missing, or a key that looks like a typo.
    """
    dialect = "processor" if isinstance(raw.get("processor"), dict) else "model"
    unknown: list[str] = []
    place = dict(raw.get(dialect, {}))
    job = raw.get("job", {})
    if isinstance(job, dict) and "demo" in job:  # where the old dialect keeps it
        place.setdefault("demo", job["demo"])
    known_elsewhere = {"model", "actions", "graph", "segment"} if dialect == "processor" else None
    optimizer = _section(OptimizerOptions, raw.get("optimizer", {}), f"{origin}: optimizer", unknown)
    data = _section(DataOptions, place, f"{origin}: {dialect}", unknown, known_elsewhere, strict=dialect == "processor")
    arch = raw.get("arch", raw.get("model", {}))
    segment = convert(int, arch.get("segment", 1000), f"{origin}: segment")
    if segment < 1:
        raise InputError(f"{origin}: 'segment' should be at least 1 frame, found {segment}")
    return TrainingOptions(
        data=data,
        optimizer=optimizer,
        loss=_section(LossSettings, raw.get("loss", {}), f"{origin}: loss", unknown),
        augment=_section(Augmentation, raw.get("augment", {}), f"{origin}: augment", unknown),
        segment=segment,
        unknown=tuple(unknown),
    )


def override(raw: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """A copy of ``raw`` with ``section.key=value`` set; values are JSON, or text where they are not.

    Raises:
        InputError: an assignment without ``=`` or into something that is no section.
    """
    copy: dict[str, Any] = json.loads(json.dumps(raw))
    for text in assignments:
        path, equals, value = text.partition("=")
        *sections, key = path.split(".")
        if not equals or not sections or not key:
            raise InputError(f"--set {text}: expected SECTION.KEY=VALUE, for example optimizer.epochs=5")
        place: Any = copy
        for name in sections:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise InputError(f"--set {text}: '{name}' is not a section of the configuration")
        try:
            place[key] = json.loads(value)
        except ValueError:
            place[key] = value
    return copy


def _section(
    cls: type, values: Any, origin: str, unknown: list[str], elsewhere: set[str] | None = None, strict: bool = True
) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{origin}: expected an object, found {values!r}")
    hints = get_type_hints(cls)
    names = [item.name for item in dataclasses.fields(cls)]
    chosen = {}
    for key, value in values.items():
        if key in hints:
            chosen[key] = convert(hints[key], value, f"{origin}.{key}")
        elif strict and key not in PUBLISHED_EXTRAS and key not in (elsewhere or ()):
            if close := difflib.get_close_matches(key, names, n=1, cutoff=0.8):
                raise InputError(f"{origin}: unknown key '{key}'; did you mean '{close[0]}'?")
            unknown.append(f"{origin.rpartition(': ')[2]}.{key}")
    missing = [
        item.name
        for item in dataclasses.fields(cls)
        if item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
        and item.name not in chosen
    ]
    if missing:
        raise InputError(f"{origin}: '{missing[0]}' is missing")
    return cls(**chosen)


def convert(hint: Any, value: Any, origin: str) -> Any:
    """``value`` of a JSON file or checkpoint as ``hint``: number, text, path, one of some words, or a list of those.

    Raises:
        InputError: it is something else; ``origin`` says where it stands.
    """
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise InputError(f"{origin}: expected one of {', '.join(map(repr, get_args(hint)))}, found {value!r}")
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):  # a tuple where the file is a checkpoint
            raise InputError(f"{origin}: expected a list, found {value!r}")
        hints = get_args(hint)[:1] * len(value) if get_args(hint)[-1] is Ellipsis else get_args(hint)
        if len(hints) != len(value):
            raise InputError(f"{origin}: expected {len(hints)} values, found {value!r}")
        return tuple(convert(inner, item, origin) for inner, item in zip(hints, value, strict=True))
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    raise InputError(f"{origin}: expected {_wording(hint)}, found {value!r}")


def _wording(hint: Any) -> str:
    words = {bool: "true or false", int: "a whole number >= 0", float: "a number >= 0", str: "a text", Path: "a path"}
    return words.get(hint, str(hint))
