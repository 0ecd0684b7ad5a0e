"""Whether another machine computes what this one does: a reference made here, checked there.

    python deploy/parity.py reference FILE.npz        here: pictures, and what the packaged models make of them
    python deploy/parity.py check FILE.npz            there: the same pictures through the same files
    python deploy/parity.py labels HERE.jsonl THERE.jsonl      two runs of edge-run on one source

Exit code 1 where they part: fp32 by more than 1e-3 in any feature or logit, int8 with a cosine under 0.99 (its products
are exact, its roundings at ties are the processor's), labels by more than a near tie.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime import ImfeStream, RtStgcnStream
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sources.demo import DemoSource

ZOO = Path(__file__).resolve().parent.parent / "models_zoo"
MODELS = ("ut-interaction/imfe.onnx", "ut-interaction/imfe.int8.onnx", "demo/imfe.onnx")
FRAMES = 60
FP32_DIFFERENCE = 1e-3
INT8_COSINE = 0.99
NEAR_TIE = 0.05  # between the scores of the two best labels: then either may be named

Arrays = dict[str, npt.NDArray[np.generic]]


def computed(name: str, frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Features (n, D) of a model of the zoo, and logits (n, classes) of its head, over ``frames`` (L, H, W, 3)."""
    path = ZOO / name
    features, logits = [], []
    with ImfeStream(path) as imfe, RtStgcnStream(path.with_name("rtstgcn.onnx")) as head:
        for frame in frames:
            out = imfe.step(frame)
            if out is not None:
                features.append(out.features)
                logits.append(head.step(out.regions))
    return {"features": np.stack(features), "logits": np.stack(logits)}


def pictures(name: str) -> npt.NDArray[np.uint8]:
    """The demo's person at the size of a model. Kept with the reference: another OpenCV draws and shrinks otherwise."""
    with ImfeStream(ZOO / name) as imfe:
        shrink = Preprocessor(imfe.metadata.height, imfe.metadata.width)
    with DemoSource() as source:
        taken = [source.read() for _ in range(FRAMES)]
    return np.stack([shrink(frame.data).copy() for frame in taken if frame is not None])


def make_reference(path: Path) -> int:
    arrays: Arrays = {}
    for name in MODELS:
        arrays[f"{name} frames"] = frames = pictures(name)
        arrays |= {f"{name} {kind}": values for kind, values in computed(name, frames).items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # its stub takes them for options
    return 0


def check(path: Path) -> int:
    """Print a line for each model and output; 1 where one is out of bounds."""
    failed = 0
    with np.load(path) as reference:
        for name in MODELS:
            for kind, found in computed(name, reference[f"{name} frames"]).items():
                wanted = reference[f"{name} {kind}"]
                difference = float(np.abs(found - wanted).max())
                cosine = float(np.min(cosines(found, wanted)))
                held = cosine >= INT8_COSINE if "int8" in name else difference <= FP32_DIFFERENCE
                failed |= not held
                sys.stdout.write(
                    f"{'same' if held else 'NOT THE SAME'}  {name} {kind} {wanted.shape}: "
                    f"largest difference {difference:.1e} of {np.abs(wanted).max():.3g}, lowest cosine {cosine:.6f}\n"
                )
    return failed


def cosines(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Of each row (n, D)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.asarray((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def compare_labels(here: Path, there: Path) -> int:
    """Print every label that differs with both scores; 1 where one is no near tie, or a result is missing."""
    mine, theirs = results(here), results(there)
    if mine.keys() != theirs.keys():
        sys.stdout.write(f"NOT THE SAME  results for {len(mine)} frames here, {len(theirs)} there\n")
        return 1
    differing = [frame for frame in mine if mine[frame][0][0] != theirs[frame][0][0]]
    clear = 0
    for frame in differing:
        tops = (mine[frame], theirs[frame])
        clear += any(top[0][1] - top[1][1] > NEAR_TIE for top in tops)
        here_said, there_said = (", ".join(f"{label} {score:.4f}" for label, score in top[:2]) for top in tops)
        sys.stdout.write(f"frame {frame}: here {here_said}; there {there_said}\n")
    scores = [abs(dict(mine[f])[label] - score) for f in mine for label, score in theirs[f] if label in dict(mine[f])]
    sys.stdout.write(
        f"{'NOT THE SAME' if clear else 'same'}  {len(mine) - len(differing)} of {len(mine)} labels, "
        f"{len(differing) - clear} near ties; scores within {max(scores):.4f}\n"
    )
    return int(clear > 0)


def results(path: Path) -> dict[int, list[tuple[str, float]]]:
    """Frame -> labels and scores, best first."""
    events = (json.loads(line) for line in path.read_text().splitlines())
    return {event["frame"]: [(label, score) for label, score in event["top"]] for event in events if "top" in event}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("reference").add_argument("file", type=Path)
    commands.add_parser("check").add_argument("file", type=Path)
    labels = commands.add_parser("labels")
    labels.add_argument("here", type=Path)
    labels.add_argument("there", type=Path)
    options = parser.parse_args()
    if options.command == "labels":
        return compare_labels(options.here, options.there)
    return make_reference(options.file) if options.command == "reference" else check(options.file)


if __name__ == "__main__":
    sys.exit(main())
