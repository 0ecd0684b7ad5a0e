"""Optical flow by OpenCV's DIS, averaged over the cells of a feature map: a teacher that needs no labels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.clips import UInt8Array

CELL = 8  # pixels: IMFE's maps are an eighth of the picture


class DenseFlow:
    """Flow between two grey pictures of one size; keeps DIS' buffers between calls."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def __call__(self, earlier: UInt8Array, later: UInt8Array) -> npt.NDArray[np.float32]:
        """uint8 (H, W) twice -> float32 (H, W, 2), x and y in pixels, from the earlier to the later picture."""
        flow = np.zeros((*earlier.shape, 2), np.float32)
        self._dis.calc(earlier, later, flow)
        return flow


def grid_flow(frames: UInt8Array) -> npt.NDArray[np.float32]:
    """Flow of adjacent frames, uint8 RGB (T, H, W, 3) -> float32 (T-1, 2, H/8, W/8) in cells.

    The mean over a cell of what moved to the *later* frame's cell: computed backwards, from later to earlier, and
    negated, since IMFE's pair features live on the later frame's grid.
    """
    dense = DenseFlow()
    gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]
    T, H, W = frames.shape[:3]
    out = np.empty((T - 1, 2, H // CELL, W // CELL), np.float32)
    for t in range(1, T):
        backward = dense(gray[t], gray[t - 1])
        cells = cv2.resize(backward, (W // CELL, H // CELL), interpolation=cv2.INTER_AREA)
        out[t - 1] = -cells.transpose(2, 0, 1) / CELL
    return out
