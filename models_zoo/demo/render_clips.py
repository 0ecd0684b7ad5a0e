"""Render the demo model's training or test clips: ``OUT/<action>/<seed>.mp4``, each person in one clip only.

python -m models_zoo.demo.render_clips --out runs/demo/clips --count 60
python -m models_zoo.demo.render_clips --out runs/demo/test --count 20 --first-seed 2000000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from edge_runtime.errors import InputError
from edge_runtime.sources.demo import FPS, HELD_OUT_SEEDS, Act, render
from edge_runtime.sources.figure.motion import ACTIONS

SIZE = (320, 240)


def render_clips(out: Path, count: int, first_seed: int, seconds: float) -> None:
    """``count`` clips of each action, of ``seconds``; seeds rise from ``first_seed`` and none is used twice."""
    last_seed = first_seed + count * len(ACTIONS) - 1
    if first_seed < HELD_OUT_SEEDS <= last_seed:
        raise InputError(f"seeds {first_seed} to {last_seed} cross {HELD_OUT_SEEDS}, where held-out people begin")
    seed = first_seed
    for action in ACTIONS:
        folder = out / action
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            writer = cv2.VideoWriter(str(folder / f"{seed}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
            if not writer.isOpened():
                raise InputError(f"{folder}: OpenCV cannot write a video there")
            for image in render(seed, [Act(action, seconds)], SIZE):
                writer.write(image)
            writer.release()
            seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60, help="clips of each action")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    render_clips(options.out, options.count, options.first_seed, options.seconds)


if __name__ == "__main__":
    main()
