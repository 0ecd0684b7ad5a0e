"""A clip that needs no camera and no file: a generated person, doing one action after another.

The same seed gives the same clip. The packaged demo model was trained on people of other seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_runtime.sources.base import Closing, Frame, SourceInfo
from edge_runtime.sources.figure.motion import ACTIONS, Manner, Pose
from edge_runtime.sources.figure.person import Image
from edge_runtime.sources.figure.scene import Scene

FPS = 30.0
# Training drew its people from seeds below this.
HELD_OUT_SEEDS = 1_000_000
# From one action to the next, seconds.
_BLEND_S = 0.4


@dataclass(frozen=True, slots=True)
class Act:
    """One action and how long it lasts, seconds."""

    action: str
    seconds: float


SCRIPT = (
    Act("standing", 2.0),
    Act("waving", 4.0),
    Act("standing", 2.0),
    Act("jumping-jacks", 4.0),
    Act("squats", 5.0),
    Act("standing", 2.0),
    Act("boxing", 4.0),
    Act("walking", 5.0),
    Act("standing", 2.0),
)


class DemoSource(Closing):
    """The clip of ``seed`` in which ``script`` is performed, ``size`` (width, height) at 30 FPS."""

    def __init__(
        self,
        seed: int = HELD_OUT_SEEDS,
        script: Sequence[Act] = SCRIPT,
        *,
        size: tuple[int, int] = (640, 480),
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.script = tuple(script)
        self._clock = clock
        self._images = enumerate(render(seed, script, size))
        frames = sum(frames_of(act) for act in script)
        self._info = SourceInfo(f"demo (seed {seed})", "image", False, FPS, *size, frames)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        item = next(self._images, None)
        if item is None:
            return None
        index, image = item
        return Frame(image, index, index / FPS, self._clock())


def render(seed: int, script: Sequence[Act], size: tuple[int, int], fps: float = FPS) -> Iterator[Image]:
    """The frames of a clip, uint8 BGR (height, width, 3), ``fps`` a second."""
    rng = np.random.default_rng(seed)
    scene = Scene(rng, size)
    count = 0
    previous: Pose | None = None
    for act in script:
        manner = Manner.draw(rng)
        perform = ACTIONS[act.action]
        before = previous
        origin = before.travel if before else (0.0, 0.0)  # each act begins where the one before ended
        for index in range(frames_of(act, fps)):
            since = index / fps
            pose = perform(manner, since)
            pose = replace(pose, travel=(origin[0] + pose.travel[0], origin[1] + pose.travel[1]))
            if before is not None and since < _BLEND_S:
                pose = before.blended(pose, since / _BLEND_S)
            yield scene.draw(pose, count / fps)
            count += 1
            previous = pose


def frames_of(act: Act, fps: float = FPS) -> int:
    """How many frames an act takes."""
    return round(act.seconds * fps)
