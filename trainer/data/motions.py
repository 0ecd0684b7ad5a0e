"""Recorded movements of real people as joints of the generated figure, whichever camera or sensor recorded them.

::

    penn_action.npz  13 joints in the image plane    ──► pick, fill, smooth ──► JOINTS (T, 16, 3) in body heights
    utkinect/        20 joints in metres, ten actions    ──► the same 13    ──►   x to the right, y up, z to the camera
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from trainer.data.prepare import penn, utkinect

Floats = npt.NDArray[np.float64]

HEAD, SHOULDERS, ELBOWS, WRISTS = 0, slice(1, 3), slice(3, 5), slice(5, 7)  # of the 13 joints, left before right
HIPS, KNEES, ANKLES = slice(7, 9), slice(9, 11), slice(11, 13)
KINECT = (3, 4, 8, 5, 9, 6, 10, 12, 16, 13, 17, 14, 18)  # the same 13 of UTKinect's 20
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11)
HAIR = 0.25  # from the head's middle, in the head's distance from the neck
LEG = 0.85  # a thigh or a shin, in trunks
UPRIGHT = 0.93  # of the height: ankle to the middle of the head
EDGE = -0.985  # Penn Action puts a joint outside of the picture into its upper left corner
SMOOTHING = 1.0  # frames of a 30 Hz recording: hand-placed joints tremble


@dataclass(frozen=True, slots=True)
class Motion:
    """One recorded action.

    Attributes:
        group: who or what it was recorded of; a split keeps it together.
        fps: of ``joints``.
        joints: ``figure.motion.JOINTS`` (T, 16, 3) in body heights; the lower foot's usual place is the ground, the
            pelvis' usual place x = z = 0.
        flat: z is unknown (0); such a motion cannot be seen from another side.
    """

    label: str
    group: str
    fps: float
    joints: Floats
    flat: bool

    @property
    def seconds(self) -> float:
        """From the first to the last frame."""
        return (len(self.joints) - 1) / self.fps

    def at(self, times: Floats) -> Floats:
        """Joints (len(times), 16, 3) at these seconds, interpolated; the last pose is held."""
        places = (np.asarray(times) * self.fps).clip(0, len(self.joints) - 1)
        before = places.astype(int).clip(0, max(0, len(self.joints) - 2))
        share = (places - before)[:, None, None]
        after = np.minimum(before + 1, len(self.joints) - 1)
        joints: Floats = (1 - share) * self.joints[before] + share * self.joints[after]
        return joints


def read_motions(source: Path) -> list[Motion]:
    """Every usable action of ``penn_action.npz`` or of a folder of UTKinect as published.

    Penn Action's group is ``train`` or ``test``, UTKinect's the subject. A person whose limb is never seen is left out.

    Raises:
        InputError: neither of the two, or damaged.
    """
    if source.is_file() or (source / "penn_action.npz").is_file():
        return list(_penn(source))
    if (source / "joints").is_dir():
        return list(_utkinect(source))
    raise InputError(f"{source}: expected penn_action.npz, or UTKinect's folder with 'joints' and 'labels'")


def _penn(source: Path) -> Iterator[Motion]:
    for recording in penn.recordings(source):
        x, y, visible = recording.features.astype(np.float64)  # each (T, 13)
        joints = np.stack([x, -y, np.zeros_like(x)], axis=-1)
        joints = _filled(joints, (visible == 0) & (y < EDGE))
        if np.isfinite(joints).all():
            label = penn.LABELS[int(recording.labels[0])]
            yield Motion(label, recording.group, penn.FPS, _figure(_smooth(joints)), flat=True)


def _utkinect(source: Path) -> Iterator[Motion]:
    for recording in utkinect.recordings(source):
        # the sensor sees x grow to its left and z away from it: turned about the vertical
        joints = recording.features.transpose(1, 2, 0)[:, KINECT].astype(np.float64) * (-1, 1, -1)
        for number in range(1, len(utkinect.LABELS)):
            frames = np.flatnonzero(recording.labels == number)
            if len(frames) > 1:
                taken = joints[frames[0] : frames[-1] + 1]
                yield Motion(utkinect.LABELS[number], recording.group, utkinect.FPS, _figure(taken), flat=False)


def _filled(joints: Floats, missing: npt.NDArray[np.bool_]) -> Floats:
    """Missing joints (T, 13) interpolated in time; one never seen takes its other side's place, or a leg hangs."""
    out = joints.copy()
    time = np.arange(len(joints))
    never: npt.NDArray[np.bool_] = np.all(missing, axis=0)
    for joint in np.flatnonzero(missing.any(0) & ~never):
        known = ~missing[:, joint]
        for axis in range(2):
            out[:, joint, axis] = np.interp(time, time[known], joints[known, joint, axis])
    for joint in np.flatnonzero(never):
        out[:, joint] = np.nan if never[MIRRORED[joint]] else out[:, MIRRORED[joint]]
    trunk = np.linalg.norm(out[:, SHOULDERS].mean(1) - out[:, HIPS].mean(1), axis=-1).max()
    for below, above in ((KNEES, HIPS), (ANKLES, KNEES)):  # of who sits with a guitar only the upper half is seen
        hanging = out[:, above] - [0.0, LEG * trunk, 0.0]
        out[:, below] = np.where(np.isnan(out[:, below]), hanging, out[:, below])
    return out


def _smooth(joints: Floats) -> Floats:
    flat = np.ascontiguousarray(joints.reshape(len(joints), -1))
    blurred = cv2.GaussianBlur(flat, (1, 0), sigmaX=1e-3, sigmaY=SMOOTHING, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64).reshape(joints.shape)


def _figure(joints: Floats) -> Floats:
    """13 joints (T, 13, 3) in any unit -> ``JOINTS`` (T, 16, 3) in body heights, standing at the origin."""
    shoulders, hips = joints[:, SHOULDERS].mean(1), joints[:, HIPS].mean(1)
    head = joints[:, HEAD]
    sides = [joints[:, part][:, ::-1] for part in (SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES)]  # right before left
    hair = head + HAIR * (head - shoulders)
    found = np.concatenate([hips[:, None], shoulders[:, None], head[:, None], *sides, hair[:, None]], axis=1)

    def length(a: Floats, b: Floats) -> Floats:
        return np.asarray(np.linalg.norm(a - b, axis=-1))

    thighs = length(joints[:, HIPS], joints[:, KNEES]).max(1)
    shins = length(joints[:, KNEES], joints[:, ANKLES]).max(1)
    # a part that points at the camera looks short: the body is as tall as it ever looks
    tall = length(head, shoulders) + length(shoulders, hips) + thighs + shins
    found = found / (np.percentile(tall, 90) / UPRIGHT)
    ground = np.median(found[:, 13:15, 1].min(1))
    return np.asarray(found - [np.median(found[:, 0, 0]), ground, np.median(found[:, 0, 2])])
