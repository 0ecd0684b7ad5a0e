"""Bones and motion of a body that moves as a whole."""

from __future__ import annotations

import numpy as np

from edge_runtime.models.metadata import Graph
from trainer.data.streams import bones, motion, parents

CHAIN = Graph(4, ((0, 1), (1, 2), (2, 3)), center=1)


def test_parents_lead_to_the_centre() -> None:
    assert parents(CHAIN) == [1, 1, 1, 2]
    assert parents(Graph(3, ((0, 1),), center=0)) == [0, 0, 2]


def test_bones_do_not_change_when_the_body_moves() -> None:
    rng = np.random.default_rng(0)
    body = rng.standard_normal((3, 1, 4)).astype(np.float32)
    walk = body + np.arange(5, dtype=np.float32)[None, :, None]
    out = bones(walk, CHAIN)
    np.testing.assert_allclose(out, np.repeat(out[:, :1], 5, axis=1), atol=1e-5)
    assert (out[:, :, CHAIN.center] == 0).all()
    np.testing.assert_allclose(out[:, 0, 3], body[:, 0, 3] - body[:, 0, 2], atol=1e-6)


def test_motion_is_the_step_from_the_frame_before() -> None:
    x = np.cumsum(np.ones((2, 4, 3)), axis=1)
    out = motion(x)
    assert (out[:, 0] == 0).all()
    assert (out[:, 1:] == 1).all()
