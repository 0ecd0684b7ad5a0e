"""Pictures of recorded movements: drawn people do what real people did, before any background and camera.

No two pictures of a movement look alike: clothes, build, place, size, direction, tempo and background are drawn anew.
Half of them show two people who face each other, because two people are what the network will have to tell apart: the
second one does the same action in another person's way, or stands by.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.sources.figure.motion import JOINTS, Build
from edge_runtime.sources.figure.person import Image, Person
from trainer.data.clips import VIDEO_SUFFIXES, Clip, Video
from trainer.data.motions import Floats, Motion

FINER = 2  # drawn so much larger and averaged: limbs of two pixels move by tenths of a pixel
TWO_PEOPLE = 0.5  # share of the pictures
STANDS_BY = 0.5  # share of the second people
WRISTS = [JOINTS.index("right_wrist"), JOINTS.index("left_wrist")]
RIGHT, LEFT = JOINTS.index("right_shoulder"), JOINTS.index("left_shoulder")


@dataclass(frozen=True, slots=True)
class Figures:
    """Clips for training: ``clips[i]`` says what ``draw(i, rng)`` will show.

    Every label comes ``len(clips) / labels`` times; which of its movements is shown is drawn with the rest.
    """

    clips: Sequence[Clip]
    motions: dict[str, list[Motion]]
    backgrounds: Sequence[Image]  # BGR, of any size
    size: tuple[int, int]  # height, width of the pictures
    fps: float
    seconds: tuple[float, float]  # shortest and longest clip

    @classmethod
    def of(
        cls,
        motions: Sequence[Motion],
        backgrounds: Sequence[Image],
        size: tuple[int, int],
        fps: float,
        seconds: tuple[float, float],
        each: int,
    ) -> Figures:
        """``each`` clips of every label."""
        by_label: dict[str, list[Motion]] = defaultdict(list)
        for motion in motions:
            by_label[motion.label].append(motion)
        clips = [
            Clip(Path(f"{label}-{number}"), label, str(number)) for number in range(each) for label in sorted(by_label)
        ]
        return cls(clips, dict(by_label), backgrounds, size, fps, seconds)

    def draw(self, i: int, rng: np.random.Generator) -> Video:
        """Someone's ``clips[i].label``."""
        same = self.motions[self.clips[i].label]
        motion = same[rng.integers(len(same))]
        longest = min(self.seconds[1], max(self.seconds[0], motion.seconds / rng.uniform(0.7, 1.4)))
        times = np.arange(int(longest * self.fps) + 1) / self.fps
        stage = _Stage(rng, self.backgrounds, self.size)
        two = rng.random() < TWO_PEOPLE
        actors = [_played(motion, times, rng, side=-1 if two else 0)]
        if two:
            if rng.random() < STANDS_BY:
                everybody = [m for group in self.motions.values() for m in group]
                actors.append(_standing(everybody[rng.integers(len(everybody))], times, rng))
            else:
                actors.append(_played(same[rng.integers(len(same))], times, rng, side=1))
        return Video(stage.film(actors, rng), times)


def _played(motion: Motion, times: Floats, rng: np.random.Generator, side: int) -> Floats:
    """Joints (T, 16, 3) of a movement at its own tempo; ``side`` -1 faces right, 1 faces left, 0 anywhere."""
    spare = motion.seconds - times[-1]
    pace = rng.uniform(0.8, 1.25) if spare >= 0 else motion.seconds / times[-1]
    start = rng.uniform(0, max(0.0, motion.seconds - pace * times[-1]))
    return _turned(motion.at(start + pace * times), motion.flat, side, rng)


def _standing(motion: Motion, times: Floats, rng: np.random.Generator) -> Floats:
    """One moment of a movement, held by someone who sways a little."""
    pose = motion.at(np.full(1, rng.uniform(0, motion.seconds)))
    joints = np.repeat(pose, len(times), axis=0)
    sway = rng.uniform(0, 0.03) * np.sin(rng.uniform(1, 3) * times + rng.uniform(0, 2 * math.pi))
    joints[..., 0] += sway[:, None] * joints[..., 1]
    return _turned(joints, motion.flat, 1, rng)


def _turned(joints: Floats, flat: bool, side: int, rng: np.random.Generator) -> Floats:
    """Seen from a drawn direction: round the person where depth is known, else as recorded or mirrored."""
    if flat:
        # where the hands are is where someone looks
        looks = float(np.mean(joints[:, WRISTS, 0] - joints[:, :1, 0]))
        if (looks * side > 0) if side else rng.random() < 0.5:
            joints = joints * (-1, 1, 1)
        near = rng.choice((-1.0, 1.0))
        depth = np.array([near if "right" in name else -near if "left" in name else 0.0 for name in JOINTS])
        return joints + 0.08 * depth[:, None] * (0, 0, 1)
    across = (joints[:, LEFT] - joints[:, RIGHT]).mean(0)  # from the right to the left shoulder
    heading = math.atan2(-across[2], across[0])  # 0 looks at the camera, pi / 2 to the right
    wanted = rng.uniform(-math.pi, math.pi) if side == 0 else -side * math.pi / 2 + rng.uniform(-0.7, 0.7)
    turn = wanted - heading
    cos, sin = math.cos(turn), math.sin(turn)
    return np.asarray(joints @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]))


class _Stage:
    """Background, camera and clothes of one clip."""

    def __init__(self, rng: np.random.Generator, backgrounds: Sequence[Image], size: tuple[int, int]) -> None:
        height, width = (FINER * side for side in size)
        self._size = height, width
        self._background = _background(rng, backgrounds, height, width)
        self._pitch = rng.uniform(-0.05, 0.45)  # looks down by, radians
        tall = rng.uniform(0.45, 0.85) * height  # pixels
        self._tall = np.array([tall * rng.uniform(0.6, 1.3), -tall])  # a picture stretched to the network's size
        self._ground = np.array([width / 2, min(0.97 * height, (height + tall) / 2 + rng.uniform(-0.1, 0.1) * height)])

    def film(self, actors: Sequence[Floats], rng: np.random.Generator) -> Image:
        """uint8 RGB (T, height, width, 3) of everybody's joints (T, 16, 3)."""
        height, width = self._size
        people = [self._cast(rng) for _ in actors]
        apart = rng.uniform(0.25, 1.1) if len(actors) == 2 else rng.uniform(-0.5, 0.5)
        steps = len(actors[0])
        shots = []
        for number, joints in enumerate(actors):
            middle = (number - 0.5) * apart + rng.uniform(-0.15, 0.15)
            walked = rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, steps)  # over the ground, beside the action
            placed = joints + np.stack([middle + walked, np.zeros(steps), np.full(steps, -0.1 * number)], 1)[:, None]
            shots.append(self._project(placed))
        out = np.empty((steps, height // FINER, width // FINER, 3), np.uint8)
        for t in range(steps):
            image = self._background.copy()
            for person, (points, depth) in zip(people, shots, strict=True):
                scale = np.full(len(JOINTS), math.sqrt(abs(self._tall.prod())))
                person.paint(image, points[t], depth[t], scale)
            cv2.resize(image, (width // FINER, height // FINER), dst=out[t], interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(out[..., ::-1])

    def _cast(self, rng: np.random.Generator) -> Person:
        build = Build.draw(rng)
        return Person.draw(rng, build.girth, build.head, self._background.mean((0, 1)))

    def _project(self, joints: Floats) -> tuple[Floats, Floats]:
        """Pixels (T, 16, 2) and depth (T, 16)."""
        cos, sin = math.cos(self._pitch), math.sin(self._pitch)
        x, y, z = np.moveaxis(joints, -1, 0)
        seen = np.stack([x, y * cos - z * sin], axis=-1)
        return self._ground + seen * self._tall, y * sin + z * cos


def _background(rng: np.random.Generator, backgrounds: Sequence[Image], height: int, width: int) -> Image:
    """A part of a real picture (half of the time, where there are any), noise, or two grounds and a border."""
    kind = rng.integers(4)
    if kind >= 2 and backgrounds:
        picture = backgrounds[int(rng.integers(len(backgrounds)))]
        h, w = (int(side * rng.uniform(0.3, 1.0)) for side in picture.shape[:2])
        y, x = rng.integers(picture.shape[0] - h + 1), rng.integers(picture.shape[1] - w + 1)
        cut = cv2.resize(picture[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(cut, np.uint8)
    out = np.empty((height, width, 3), np.float32)
    border = int(height * rng.uniform(0.1, 0.9))
    for ground in (out[:border], out[border:]):
        ground[:] = rng.uniform(20, 235) + rng.uniform(0, 40) * rng.standard_normal(3)
    if kind == 0:
        for cells, strength in ((5, 40.0), (24, 25.0), (width // 2, 12.0)):
            texture = rng.normal(0, rng.uniform(0, strength), (cells * height // width + 1, cells, 1))
            texture = texture + rng.normal(0, rng.uniform(0, strength / 3), (*texture.shape[:2], 3))
            out += cv2.resize(texture.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    light = np.linspace(rng.uniform(0.7, 1.2), rng.uniform(0.7, 1.2), width, dtype=np.float32)
    return np.asarray((out * light[None, :, None]).clip(0, 255), np.uint8)


def read_backgrounds(folder: Path, each: int, height: int) -> list[Image]:
    """``each`` frames of every video below ``folder``, evenly spaced, BGR, ``height`` pixels high at most."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES):
        capture = cv2.VideoCapture(str(path))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(np.linspace(0, max(0, count - 1), each).astype(int).tolist())
        for number in range(max(wanted) + 1):
            if not capture.grab():
                break
            if number in wanted:
                picture = capture.retrieve()[1]
                share = min(1.0, height / picture.shape[0])
                small = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
                found.append(np.asarray(small, np.uint8))
        capture.release()
    return found
