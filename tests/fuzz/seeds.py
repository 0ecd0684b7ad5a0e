"""The healthy files that fuzzing starts from, and the command line that reads each kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import onnx

from edge_runtime.models.metadata import RtStgcnLayer
from tests.edge_runtime.sources.clips import write_video
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe, SmallLstr
from tests.fuzz.mutate import damage, damage_text

_BUDGETS = """\
preprocess = 4
imfe.encoder = 12.5
imfe.head = 30
capture_to_result = 180
[health]
starved_s = 3
hung_s = 10
degraded_miss_ratio = 0.1
"""

_SITE = """\
model = "{model}"
hop = 1
[camera.front]
video = "{first}"
max-frames = 4
policy = "block"
[camera.yard]
video = "{second}"
threads = 1
enter = 0.6
"""


@dataclass(frozen=True)
class Healthy:
    """Paths of good files, made once a process."""

    imfe: Path
    heads: tuple[Path, ...]
    skeleton: Path
    clips: tuple[Path, ...]
    npy: Path
    csv: Path
    budgets: Path


def make(folder: Path) -> Healthy:
    imfe = SmallImfe.make().save(folder / "imfe.onnx")
    layers = (RtStgcnLayer(7, 6, taps=4, dilation=1), RtStgcnLayer(6, 6, taps=3, dilation=2))
    head = SmallGcn.make(layers, nodes=6, in_channels=7)
    heads = (
        replace(head, metadata=replace(head.metadata, source="regions", fps=5.0)).save(folder / "rtstgcn.onnx"),
        SmallLstr.make().save(folder / "lstr.onnx"),
    )
    skeleton = SmallGcn.make(LAYERS).save(folder / "skeleton.onnx")
    clips = (
        write_video(folder / "a.mp4", 8),
        write_video(folder / "b.avi", 8, codec="MJPG"),
        write_video(folder / "c.mkv", 8, codec="mp4v"),
    )
    samples = np.random.default_rng(0).standard_normal((3, 20, 5)).astype(np.float32)
    np.save(folder / "s.npy", samples)
    rows = samples.transpose(1, 2, 0).reshape(20, -1)  # (L, V*C)
    header = ",".join(f"node{node}.{channel}" for node in range(5) for channel in "xyz")
    table = "\n".join(",".join(f"{value:.4f}" for value in row) for row in rows)
    (folder / "s.csv").write_text(f"{header}\n{table}\n")
    (folder / "budgets.toml").write_text(_BUDGETS)
    return Healthy(imfe, heads, skeleton, clips, folder / "s.npy", folder / "s.csv", folder / "budgets.toml")


Case = Callable[[Healthy, Path, random.Random], list[str]]
"""Writes one broken file into the folder given; the arguments of edge-run that read it."""


def _short(*arguments: object) -> list[str]:
    return [str(argument) for argument in arguments]


def model(healthy: Healthy, folder: Path, chance: random.Random) -> list[str]:
    """A model file: bytes, or a well-formed graph that is wrong."""
    broken = folder / "imfe.onnx"
    which = chance.choice((healthy.imfe, *healthy.heads, healthy.skeleton))
    data = which.read_bytes()
    broken.write_bytes(damage(data, chance) if chance.random() < 0.5 else _rewire(data, chance))
    if which == healthy.skeleton:
        return _short("--skeleton", healthy.npy, "--rate", 30, "--model", broken)
    source = ("--video", healthy.clips[1], "--max-frames", 8)
    if which == healthy.imfe:
        return _short(*source, "--model", broken, "--head", chance.choice(healthy.heads))
    return _short(*source, "--model", healthy.imfe, "--head", broken)


def _rewire(data: bytes, chance: random.Random) -> bytes:
    """The graph with a node, name, shape, attribute or property changed: every byte valid, the whole not."""
    proto = onnx.load_from_string(data)
    graph = proto.graph
    match chance.randrange(9):
        case 0:
            prop = chance.choice(proto.metadata_props)
            prop.value = damage_text(prop.value, chance).decode("utf-8", "replace")
        case 1:
            del proto.metadata_props[chance.randrange(len(proto.metadata_props))]
        case 2:
            del graph.node[chance.randrange(len(graph.node))]
        case 3:
            value = chance.choice([*graph.input, *graph.output])
            dims = value.type.tensor_type.shape.dim
            if dims:
                chance.choice(dims).dim_value = chance.choice((0, 1, 3, -1, 1 << 20, 1 << 40))
        case 4:
            tensor = chance.choice(graph.initializer) if graph.initializer else None
            if tensor is not None and tensor.dims:
                tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice((0, 1, 7, -1, 1 << 31, 1 << 45))
        case 5:
            node = chance.choice(graph.node)
            node.op_type = chance.choice(("Loop", "If", "Conv", "MatMul", "NoSuchOp", "Identity", "Resize"))
        case 6:
            node = chance.choice(graph.node)
            node.domain = chance.choice(("com.microsoft", "evil.domain", "ai.onnx.ml"))
        case 7:
            names = [name for node in graph.node for name in (*node.input, *node.output)]
            node = chance.choice([node for node in graph.node if node.input])
            node.input[chance.randrange(len(node.input))] = chance.choice(names)
        case _:
            tensor = chance.choice(graph.initializer) if graph.initializer else None
            if tensor is not None:
                tensor.data_location = onnx.TensorProto.EXTERNAL
                entry = tensor.external_data.add()
                entry.key, entry.value = "location", chance.choice(("../../../etc/passwd", "/dev/zero", "x.bin"))
    return proto.SerializeToString()


def config(healthy: Healthy, folder: Path, chance: random.Random) -> list[str]:
    """Budgets with thresholds, or a site of two cameras."""
    if chance.random() < 0.5:
        site = folder / "site.toml"
        first, second = healthy.clips[:2]
        site.write_bytes(damage_text(_SITE.format(model=healthy.imfe, first=first, second=second), chance))
        return _short("--config", site)
    broken = folder / "budgets.toml"
    broken.write_bytes(damage_text(_BUDGETS, chance))
    return _short("--skeleton", healthy.npy, "--rate", 30, "--model", healthy.skeleton, "--budgets", broken)


def video(healthy: Healthy, folder: Path, chance: random.Random) -> list[str]:
    clip = chance.choice(healthy.clips)
    broken = folder / clip.name
    broken.write_bytes(damage(clip.read_bytes(), chance))
    return _short("--video", broken, "--model", healthy.imfe)


def stream(healthy: Healthy, folder: Path, chance: random.Random) -> list[str]:
    """What skeletons and sensors come as: .npy, .csv."""
    if chance.random() < 0.5:
        broken = folder / "s.npy"
        broken.write_bytes(damage(healthy.npy.read_bytes(), chance))
    else:
        broken = folder / "s.csv"
        broken.write_bytes(damage_text(healthy.csv.read_text(), chance))
    return _short("--skeleton", broken, "--rate", 30, "--model", healthy.skeleton)


def live(healthy: Healthy, folder: Path, chance: random.Random) -> list[str]:
    """What comes on standard input: a sample a line; the harness connects the file to it."""
    samples = np.load(healthy.npy).transpose(1, 0, 2)
    lines = "\n".join(json.dumps(sample.round(3).tolist()) for sample in samples)
    (folder / "stdin").write_bytes(damage_text(lines, chance))
    return _short("--skeleton", "-", "--rate", 1000, "--model", healthy.skeleton)


def pictures(healthy: Healthy, folder: Path, chance: random.Random) -> list[str]:
    """A folder of images of which some are broken."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for number in range(7):
        kind = chance.choice((".jpg", ".png"))
        data = cv2.imencode(kind, np.full((48, 64, 3), 30 * number, np.uint8))[1].tobytes()
        (images / f"{number}{kind}").write_bytes(damage(data, chance) if chance.random() < 0.5 else data)
    return _short("--images", images, "--rate", 30, "--model", healthy.imfe)


KINDS: dict[str, Case] = {
    "model": model,
    "config": config,
    "video": video,
    "stream": stream,
    "live": live,
    "pictures": pictures,
}
