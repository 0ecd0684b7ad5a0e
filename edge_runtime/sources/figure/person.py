"""How one person looks, and how that person is painted from joints wherever they come from: posed or recorded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.sources.figure.motion import Floats

Image = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]

_SHIFT = 4  # drawing in sixteenths of a pixel: a limb that moves slowly must not jump from pixel to pixel
_SKINS: tuple[Colour, ...] = ((140, 170, 224), (105, 140, 198), (80, 110, 165), (60, 85, 130), (45, 60, 95))  # BGR
_HAIR: tuple[Colour, ...] = ((25, 25, 28), (40, 55, 80), (70, 110, 150), (150, 150, 155))


@dataclass(frozen=True, slots=True)
class Person:
    """Girth and head (radius, heights) of a ``Build``, and BGR colours."""

    girth: float
    head: float
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    sleeves: bool  # long ones
    shoes: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator, girth: float, head: float, surroundings: Floats) -> Person:
        """A random one that can be told from the ``surroundings``' mean colour."""
        skin = _SKINS[rng.integers(len(_SKINS))]
        hair = _HAIR[rng.integers(len(_HAIR))]
        shirt, trousers = (_clothing(rng, surroundings) for _ in range(2))
        sleeves = bool(rng.integers(2))
        shoes = rng.uniform(10, 90, 3)
        return cls(girth, head, skin, hair, shirt, trousers, sleeves, (shoes[0], shoes[1], shoes[2]))

    def paint(self, image: Image, points: Floats, depth: Floats, scale: Floats) -> None:
        """Onto a BGR ``image``: ``motion.JOINTS`` as pixels (16, 2), far parts first.

        Args:
            depth: (16,) towards the camera, heights.
            scale: (16,) pixels in one height at each joint.
        """
        sleeve = self.shirt if self.sleeves else self.skin
        parts = []  # (depth, how to draw it), far ones first
        for right in (0, 1):
            limbs = (
                (3 + right, 5 + right, 0.05, self.shirt),
                (5 + right, 7 + right, 0.042, sleeve),
                (9 + right, 11 + right, 0.075, self.trousers),
                (11 + right, 13 + right, 0.058, self.trousers),
            )
            for start, end, thickness, colour in limbs:
                middle = (depth[start] + depth[end]) / 2
                width = thickness * self.girth * (scale[start] + scale[end]) / 2
                parts.append((middle, "limb", points[[start, end]], width, _shaded(colour, middle)))
            wrist, ankle = 7 + right, 13 + right
            parts.append((depth[wrist] + 0.001, "ball", points[[wrist]], 0.028 * scale[wrist], self.skin))
            parts.append((depth[ankle], "ball", points[[ankle]], 0.036 * scale[ankle], self.shoes))
        parts.append((depth[1] - 0.01, "limb", points[[1, 2]], 0.05 * scale[1], self.skin))
        trunk = points[[3, 4, 10, 9]]
        parts.append((depth[0], "trunk", trunk, 0.075 * self.girth * scale[0], _shaded(self.shirt, depth[0])))
        head = self.head * scale[2]
        parts.append((depth[15], "ball", points[[15]], 1.02 * head, self.hair))
        parts.append((depth[2], "ball", points[[2]], head * 0.95, self.skin))
        for _, kind, where, width, colour in sorted(parts, key=lambda part: part[0]):
            fixed = np.rint(where * (1 << _SHIFT)).astype(np.int32)
            if kind == "ball":
                radius = max(1, round(width * (1 << _SHIFT)))
                cv2.circle(image, tuple(fixed[0].tolist()), radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
                continue
            thickness = max(1, round(width))
            if kind == "trunk":
                cv2.fillConvexPoly(image, fixed, colour, cv2.LINE_AA, _SHIFT)
            cv2.polylines(image, [fixed], kind == "trunk", colour, thickness, cv2.LINE_AA, _SHIFT)


def _clothing(rng: np.random.Generator, surroundings: Floats) -> Colour:
    """A colour that can be told from the surroundings' mean."""
    while True:
        colour = rng.uniform(15, 240, 3)
        if np.abs(colour - surroundings).mean() > 40:
            return (float(colour[0]), float(colour[1]), float(colour[2]))


def _shaded(colour: Colour, depth: float) -> Colour:
    """Darker at the back, so that an arm before the trunk can be seen."""
    light = 1 + 0.9 * float(np.clip(depth, -0.25, 0.25))
    return (colour[0] * light, colour[1] * light, colour[2] * light)
