"""Measure the demo model as it is used: ``edge-run`` on videos of people that it was not trained on.

    python -m models_zoo.demo.evaluate

Each person performs every action once, in an order of their own. Every result is compared with the action going on at
the moment it speaks of; results within ``BLEND_S`` after a change are left out, as in training. An act counts as
recognised when its action has the largest sum of scores over its results. Writes ``confusion.png`` and prints the rest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.sources.demo import FPS, HELD_OUT_SEEDS, Act, render
from edge_runtime.sources.figure.motion import ACTIONS

LABELS = tuple(ACTIONS)
HERE = Path(__file__).parent
SIZE = (320, 240)
ACT_S = 4.0
BLEND_S = 0.6
# Two million and the 149 seeds after it were looked at while the recipe was chosen; nobody looked at these.
FIRST_SEED = 3 * HELD_OUT_SEEDS


def draw_script(seed: int) -> list[Act]:
    """Every action once, in this person's order."""
    return [Act(str(action), ACT_S) for action in np.random.default_rng((2, seed)).permutation(LABELS)]


def results_of(seed: int, script: Sequence[Act], model: Path, folder: Path) -> list[dict[str, object]]:
    """The result lines of ``edge-run`` on the video of one person."""
    path = folder / f"{seed}.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    for image in render(seed, script, SIZE):
        writer.write(image)
    writer.release()
    command = [sys.executable, "-m", "edge_runtime.cli.run", "--video", str(path), "--model", str(model), "--out", "-"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    path.unlink()
    events = [json.loads(line) for line in lines]
    return [event for event in events if event["event"] == "result"]


def evaluate(people: int, model: Path) -> tuple[npt.NDArray[np.int64], int]:
    """Confusion of results (true, found), and how many of the ``6 * people`` acts were recognised."""
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    recognised = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(FIRST_SEED, FIRST_SEED + people):
            script = draw_script(seed)
            sums = np.zeros((len(script), len(LABELS)))
            for result in results_of(seed, script, model, Path(folder)):
                t = float(str(result["t"]))
                number = min(int(t / ACT_S), len(script) - 1)
                if number and t - number * ACT_S < BLEND_S:
                    continue
                confusion[LABELS.index(script[number].action), LABELS.index(str(result["label"]))] += 1
                for label, score in result["top"]:  # type: ignore[attr-defined]
                    sums[number, LABELS.index(label)] += score
            recognised += sum(LABELS[best] == act.action for best, act in zip(sums.argmax(1), script, strict=True))
    return confusion, recognised


def plot(confusion: npt.NDArray[np.int64], out: Path) -> None:
    """The confusion matrix, each row in percent of its action's results."""
    import matplotlib.pyplot as plt

    share = 100 * confusion / confusion.sum(1, keepdims=True)
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=30, ha="right")
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set_xlabel("recognised")
    axes.set_ylabel("performed")
    for (row, column), value in np.ndenumerate(share):
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 60 else "black")
    axes.set_title("demo model: results on unseen people, % of each action")
    figure.savefig(out, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--model", type=Path, default=HERE / "imfe.onnx")
    options = parser.parse_args()
    confusion, recognised = evaluate(options.people, options.model)
    plot(confusion, options.model.with_name("confusion.png"))
    right, total = int(np.trace(confusion)), int(confusion.sum())
    recall = confusion.diagonal() / confusion.sum(1)
    figures = {
        "people": options.people,
        "results": total,
        "result_accuracy": round(right / total, 4),
        "chance": round(1 / len(LABELS), 4),
        "majority": round(float(confusion.sum(1).max() / total), 4),
        "acts_recognised": f"{recognised} of {len(LABELS) * options.people}",
        "recall": {label: round(float(value), 4) for label, value in zip(LABELS, recall, strict=True)},
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
