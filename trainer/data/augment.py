"""Random changes of a trial that leave its labels right: what another day, person or sensor would have recorded.

Every function takes and gives a trial (C, L, V) and draws from the generator it is handed, so that a training step can
be repeated exactly. Channels come in vectors of three (x, y, z), or two for joints in an image; the first vector of a
body-worn sensor is its acceleration, the second its rate of turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.losses import IGNORED

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Section ``augment``: how strong each change is; 0 = not at all (the default of each).

    Args:
        rotate: standard deviation of a rotation in radians, one for the whole body.
        rotate_node: the same for each node: a sensor strapped on differently.
        scale: standard deviation of the logarithm of a gain, one for the whole body.
        scale_node: the same for each node and vector.
        noise: standard deviation of white noise, in the units of the data.
        time_warp: standard deviation of the logarithm of the speed.
        drop_node: probability that a node is lost (zero) for the whole trial.
        mirror: probability of swapping the body's sides.
        sides: the pairs of nodes (left, right) that it swaps.
        overload_node: probability that a node's last vector is ten times too large and clipped at ``limit``, as in
            half of HuGaDB's gyroscope streams.
        limit: full scale of the data; 0 = none.
    """

    rotate: float = 0.0
    rotate_node: float = 0.0
    scale: float = 0.0
    scale_node: float = 0.0
    noise: float = 0.0
    time_warp: float = 0.0
    drop_node: float = 0.0
    mirror: float = 0.0
    sides: tuple[tuple[int, int], ...] = ()
    overload_node: float = 0.0
    limit: float = 0.0


def augment(x: npt.NDArray[Any], labels: LabelArray, how: Augmentation, rng: Rng) -> tuple[FloatArray, LabelArray]:
    """Apply every change that ``how`` asks for; returns new arrays, the length may differ after a time-warp."""
    y = np.array(x, dtype=np.float32)
    if how.time_warp:
        y, labels = time_warp(y, labels, float(np.exp(how.time_warp * rng.standard_normal())))
    if how.mirror and rng.random() < how.mirror:
        y = mirror(y, how.sides)
    vectors, size = vector_shape(y.shape[0])
    frames = y.reshape(vectors, size, y.shape[1], y.shape[2])  # (vectors, xyz, L, V), a view
    if how.rotate:
        frames[:] = np.einsum("ij,kjlv->kilv", rotation(size, how.rotate, rng), frames)
    if how.rotate_node:
        for node in range(y.shape[2]):
            frames[..., node] = np.einsum("ij,kjl->kil", rotation(size, how.rotate_node, rng), frames[..., node])
    if how.scale:
        frames *= np.exp(how.scale * rng.standard_normal(), dtype=np.float32)
    if how.scale_node:
        frames *= np.exp(how.scale_node * rng.standard_normal((vectors, 1, 1, y.shape[2])), dtype=np.float32)
    if how.overload_node:
        overload(frames, how.overload_node, how.limit, rng)
    if how.noise:
        y += how.noise * rng.standard_normal(y.shape, dtype=np.float32)
    if how.drop_node:
        y[:, :, rng.random(y.shape[2]) < how.drop_node] = 0
    if how.limit:
        np.clip(y, -how.limit, how.limit, out=y)
    return y, labels


def vector_shape(channels: int) -> tuple[int, int]:
    """How many vectors of how many components ``channels`` are; odd ones count each for itself."""
    for size in (3, 2):
        if channels % size == 0:
            return channels // size, size
    return channels, 1


def rotation(size: int, spread: float, rng: Rng) -> FloatArray:
    """A random rotation of vectors of ``size`` components by a normally distributed angle."""
    angle = spread * rng.standard_normal()
    if size == 1:
        return np.ones((1, 1), dtype=np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    if size == 2:
        return np.array([[cos, -sin], [sin, cos]], dtype=np.float32)
    axis = rng.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: FloatArray = (np.eye(3) + sin * cross + (1 - cos) * cross @ cross).astype(np.float32)  # Rodrigues
    return turned


def time_warp(x: FloatArray, labels: LabelArray, speed: float) -> tuple[FloatArray, LabelArray]:
    """Play a trial at ``speed`` times its speed, by linear interpolation; labels are the nearest frame's."""
    length = max(2, round(x.shape[1] / speed))
    if x.shape[1] < 2:
        return x, labels
    at = np.linspace(0, x.shape[1] - 1, length)
    before = np.minimum(at.astype(np.int64), x.shape[1] - 2)
    part = (at - before).astype(np.float32)[None, :, None]
    return x[:, before] * (1 - part) + x[:, before + 1] * part, labels[np.round(at).astype(np.int64)]


def mirror(x: FloatArray, sides: tuple[tuple[int, int], ...]) -> FloatArray:
    """Swap left and right: the nodes of each pair change places and the first component of each vector its sign."""
    order = np.arange(x.shape[2])
    for left, right in sides:
        order[left], order[right] = right, left
    y = x[:, :, order]
    _, size = vector_shape(len(x))
    y[::size] *= -1
    return y


def overload(frames: FloatArray, probability: float, limit: float, rng: Rng) -> None:
    """Amplify some nodes' last vector tenfold, in place; frames (vectors, xyz, L, V). A node already large stays."""
    for node in np.flatnonzero(rng.random(frames.shape[3]) < probability):
        if not limit or np.abs(frames[-1, :, :, node]).mean() < limit / 10:
            frames[-1, :, :, node] *= 10


def crop(
    x: npt.NDArray[Any], labels: LabelArray, length: int, rng: Rng, lead: int = 0
) -> tuple[npt.NDArray[Any], LabelArray]:
    """A random stretch of ``length`` frames, the beginning in one case of three.

    The first ``lead`` frames of any other stretch are ``IGNORED``: what went before them, and may decide their labels,
    is missing.

    A shorter trial is continued backwards and forwards until it is long enough, with ``IGNORED`` labels: a value that
    no sensor gives (zeros) would spoil a batch's statistics.
    """
    n = x.shape[1]
    if n >= length:
        start = 0 if rng.random() < 1 / 3 else int(rng.integers(0, n - length + 1))
        kept = labels[start : start + length].copy()
        if start:
            kept[:lead] = IGNORED
        return x[:, start : start + length], kept
    mirrored = np.pad(np.arange(n), (0, length - n), mode="symmetric")
    return x[:, mirrored], np.concatenate([labels, np.full(length - n, IGNORED)])
