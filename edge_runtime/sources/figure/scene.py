"""Where the generated figure is seen: a room, a camera and its light, drawn once from a seed.

Nothing of it depends on the action, so that a network cannot tell an action by the room it happens in.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.sources.figure.motion import Build, Floats, Pose, place_joints
from edge_runtime.sources.figure.person import Colour, Image, Person

_SHAKE = 0.005  # most that a hand-held camera moves, of the picture's height


class Scene:
    """Draws one person in one room, frame by frame, ``size`` (width, height)."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self._rng = rng
        self._size = size
        self._build = Build.draw(rng)
        self._margin = math.ceil(_SHAKE * size[1])  # of room beyond the picture's edges, pixels
        self._room = _room(rng, (size[0] + 2 * self._margin, size[1] + 2 * self._margin))
        self._camera = _Camera(rng, size)
        self._turn = rng.uniform(-0.5, 0.5)
        self._person = Person.draw(rng, self._build.girth, self._build.head, self._room.mean((0, 1)))
        self._gain = rng.uniform(0.75, 1.15)
        self._flicker = rng.uniform(0, 0.03)
        self._softness = rng.uniform(0, 0.9)
        strength = rng.uniform(1, 5)
        self._grain = rng.normal(0, strength, (2 * size[1], 2 * size[0], 1)).clip(-127, 127).astype(np.int16)
        self._grain = np.repeat(self._grain, 3, axis=2)

    def draw(self, pose: Pose, t: float) -> Image:
        """The picture of ``pose`` at ``t`` seconds: uint8 BGR (height, width, 3)."""
        width, height = self._size
        joints = place_joints(self._build, pose, self._turn)
        shake = np.rint(self._camera.shake(t)).astype(int)
        x, y = shake + self._margin
        image = self._room[y : y + height, x : x + width].copy()
        points, scale = self._camera.project(joints)
        points -= shake
        self._shadow(image, joints, shake)
        self._person.paint(image, points, joints[:, 2], scale)
        return self._expose(image, t)

    def _shadow(self, image: Image, joints: Floats, shake: npt.NDArray[np.int_]) -> None:
        (centre,), (scale,) = self._camera.project(joints[:1] * (1, 0, 1))
        x, y = np.rint(centre - shake).astype(int).tolist()
        axes = (round(0.2 * scale), max(1, round(0.035 * scale)))
        cv2.ellipse(image, (x, y), axes, 0, 0, 360, (45, 45, 45), cv2.FILLED)

    def _expose(self, image: Image, t: float) -> Image:
        width, height = self._size
        if self._softness > 0.3:
            image = cv2.GaussianBlur(image, (3, 3), self._softness).astype(np.uint8, copy=False)
        x, y = self._rng.integers(0, width), self._rng.integers(0, height)
        gain = self._gain * (1 + self._flicker * math.sin(2.1 * t))
        exposed = cv2.convertScaleAbs(image, alpha=gain)
        return cv2.add(exposed, self._grain[y : y + height, x : x + width], dtype=cv2.CV_8U).astype(
            np.uint8, copy=False
        )


class _Camera:
    """Stands still, more or less, and looks at the middle of the person."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        width, height = size
        self._distance = rng.uniform(2.5, 5)
        self._focal = rng.uniform(0.6, 0.8) * height * self._distance
        self._centre = np.array([width * rng.uniform(0.42, 0.58), height * rng.uniform(0.52, 0.58)])
        self._sway = rng.uniform(0, _SHAKE) * height
        self._phases = rng.uniform(0, 2 * math.pi, 2)

    def project(self, joints: Floats) -> tuple[Floats, Floats]:
        """Pixels (n, 2), and pixels in one height at each point's distance (n,)."""
        scale = self._focal / (self._distance - joints[:, 2])
        points = self._centre + np.stack([joints[:, 0], 0.5 - joints[:, 1]], axis=1) * scale[:, None]
        return points, scale

    def shake(self, t: float) -> Floats:
        """Pixels by which a hand-held camera has moved."""
        return self._sway * np.sin(np.array([1.3, 1.9]) * t + self._phases)


def _room(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """Wall, floor, and things on them."""
    width, height = size
    room = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.6, 0.8))
    room[:horizon] = _muted(rng, 40, 220)
    room[horizon:] = _muted(rng, 30, 190)
    for _ in range(rng.integers(0, 7)):
        x, y = rng.uniform(0, width), rng.uniform(0, horizon)
        w, h = rng.uniform(0.05, 0.3, 2) * width
        corner, opposite = (int(x), int(y)), (int(x + w), int(min(y + h, horizon + 0.1 * height)))
        cv2.rectangle(room, corner, opposite, _muted(rng, 20, 230), cv2.FILLED)
    for cells, strength in ((6, 10.0), (40, 5.0)):
        texture = rng.normal(0, strength, (cells * height // width + 2, cells + 2, 1)).astype(np.float32)
        room += cv2.resize(np.repeat(texture, 3, axis=2), (width, height), interpolation=cv2.INTER_CUBIC)
    light = np.linspace(rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.1), width, dtype=np.float32)
    return (room * light[None, :, None]).clip(0, 255).astype(np.uint8)


def _muted(rng: np.random.Generator, low: float, high: float) -> Colour:
    """A colour of walls and furniture, nearer to grey than clothes are."""
    colour = rng.uniform(low, high, 3)
    colour += 0.6 * (colour.mean() - colour)
    return (float(colour[0]), float(colour[1]), float(colour[2]))
