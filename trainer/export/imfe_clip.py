"""Imfe -> a clip graph as the publication's exporter writes it: a whole clip in, its feature out, for any runtime.

``clip`` float32 (1, clip, 3, H, W), RGB, normalised by mean and std, oldest frame first -> ``features`` (1, D).
``edge-run`` knows such a file by this signature; there, and wherever clips overlap, the step graph is several times
faster.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch

from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import Provenance
from edge_runtime.models.session import open_session
from trainer.export.imfe import ImfeGraph
from trainer.export.write import relative_error, write_model
from trainer.nets.imfe import Imfe, ImfeConfig

CLIP_OPSET = 16  # the published one (RT-HARE, imfe_export_onnx.py)


def export_clip(model: Imfe, out: str | Path, name: str | None = None, provenance: Provenance | None = None) -> float:
    """Write the clip graph of ``model`` (its eval form); arguments, result and errors as ``export_imfe``."""
    model.eval()
    props = _properties(model.config, name, provenance or Provenance())
    return write_model(build_clip_graph(model), props, out, lambda file: _parity(model, file))


def _properties(config: ImfeConfig, name: str | None, provenance: Provenance) -> dict[str, str]:
    """What a signature does not say. No ``kind``: this is nobody's model in particular."""
    stated = {"name": name or f"imfe-{config.name}-clip", "fps": config.fps, "mean": config.mean, "std": config.std}
    origin = {key: getattr(provenance, key) for key in ("made_by", "trained_on", "licence", "citation")}
    return {key: json.dumps(value) for key, value in (stated | origin).items() if value is not None}


def build_clip_graph(model: Imfe) -> onnx.ModelProto:
    """The whole network as one graph; every frame is encoded once, every pair is one product as in the step graph."""
    config = model.config
    clip = config.clip_length
    g = ImfeGraph()
    frames = g.input("clip", (1, clip, 3, config.height, config.width))
    one_by_one = g.weight("frames_shape", np.array([clip, 3, config.height, config.width]))
    frames = g.op("Reshape", (frames, one_by_one), "frames")
    fmaps = g.encode(model.feature_encoder, frames, np.ones(3), "fmaps")
    places = [g.weight(f"place.{t}", np.array([t])) for t in range(clip + 1)]
    axis = g.weight("axis", np.array([0]))
    each = [g.op("Slice", (fmaps, *places[t : t + 2], axis), f"fmap.{t}") for t in range(clip)]
    pairs = [g.motion(model, each[t], each[t + 1], f".{t}") for t in range(clip - 1)]
    appearance = ""
    if config.appearance:
        central = g.op("Slice", (frames, *places[config.central : config.central + 2], axis), "central_frame")
        appearance = g.appearance(model, central, np.ones(3))
    features, _ = g.head(model, g.op("Concat", pairs, "pairs", axis=1), appearance)
    g.output(features, (1, config.feature_dim))
    return g.model("imfe-clip", CLIP_OPSET)


def _parity(model: Imfe, file: ModelFile) -> float:
    """Two clips of noise in onnxruntime; relative error against torch."""
    config = model.config
    shape = (2, 1, config.clip_length, config.height, config.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    clips = model.normalise(torch.from_numpy(frames))  # (2, 1, clip, 3, H, W)
    session = open_session(file.data, name=str(file.path)).ort
    with torch.inference_mode():
        expected = np.stack([model(clip)[0].numpy() for clip in clips])
    return relative_error(np.stack([session.run(None, {"clip": clip.numpy()})[0] for clip in clips]), expected)
