"""How the generated figure moves: each action is a function from time to a pose.

A pose gives each of eight limbs two angles, absolute and not relative to the limb it hangs on:

    lift      0 hanging down, pi / 2 level, pi straight up; negative: to the other side
    azimuth   the plane it is lifted in: 0 sideways and away from the body, pi / 2 forwards

so that poses blend by blending numbers. Lengths are in units of the body's height.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Limbs in a pose's order; even ones are the right side's.
UPPER_ARM, FOREARM, THIGH, SHIN = 0, 2, 4, 6
JOINTS = (
    *("pelvis", "neck", "head", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow"),
    *("right_wrist", "left_wrist", "right_hip", "left_hip", "right_knee", "left_knee", "right_ankle", "left_ankle"),
    "hair",
)


@dataclass(frozen=True, slots=True)
class Pose:
    """``limbs`` (8, 2): lift and azimuth in radians, right before left, of upper arms, forearms, thighs, shins."""

    limbs: Floats
    lean: float = 0.0  # of the trunk, forwards, radians
    hop: float = 0.0  # feet above the ground, heights
    turn: float = 0.0  # of the whole body about the vertical, radians
    travel: tuple[float, float] = (0.0, 0.0)  # over the ground: sideways and towards the camera, heights

    def blended(self, other: Pose, share: float) -> Pose:
        """This pose with ``share`` of the other."""

        def mix(a: float, b: float) -> float:
            return a + (b - a) * share

        return Pose(
            self.limbs + (other.limbs - self.limbs) * share,
            mix(self.lean, other.lean),
            mix(self.hop, other.hop),
            mix(self.turn, other.turn),
            (mix(self.travel[0], other.travel[0]), mix(self.travel[1], other.travel[1])),
        )


@dataclass(frozen=True, slots=True)
class Manner:
    """How one person does one action: drawn once, so that a repetition is the same but two people differ."""

    pace: float  # repetitions compared to the usual, about 1
    reach: float  # amplitude compared to the usual, about 1
    phase: float  # where in a repetition it begins, radians
    right_handed: bool
    path: float  # where it walks, radians from the camera's direction
    jitter: Floats  # (8, 2) radians by which this person's limbs are held differently

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Manner:
        return cls(
            rng.uniform(0.8, 1.25),
            rng.uniform(0.8, 1.1),
            rng.uniform(0, 2 * math.pi),
            bool(rng.integers(2)),
            math.copysign(rng.uniform(1.15, 1.45), rng.uniform(-1, 1)),
            rng.normal(0, 0.05, (8, 2)),
        )


def _limbs(manner: Manner, **degrees: tuple[float, float] | tuple[float, float, float, float]) -> Floats:
    """Limb angles from degrees: (lift, azimuth) of both sides, or of the right and then the left side."""
    limbs = manner.jitter.copy()
    for name, start in (("upper_arm", UPPER_ARM), ("forearm", FOREARM), ("thigh", THIGH), ("shin", SHIN)):
        limbs[start : start + 2] += np.radians(np.reshape(degrees.get(name, (0.0, 0.0)), (-1, 2)))
    return limbs


def stand(manner: Manner, t: float) -> Pose:
    """Still, but alive: sways, breathes, shifts its arms a little."""
    sway = math.sin(0.9 * t * manner.pace + manner.phase)
    shift = math.sin(0.37 * t + 2 * manner.phase)
    limbs = _limbs(
        manner,
        upper_arm=(8 + 1.5 * sway, 20, 8 - 1.5 * shift, 20),
        forearm=(12 + 3 * shift, 60, 12 + 2 * sway, 60),
        thigh=(4, 0),
        shin=(3, 0),
    )
    return Pose(limbs, lean=0.02 * sway)


def wave(manner: Manner, t: float) -> Pose:
    """One hand up, forearm swinging; the other arm hangs."""
    swing = 38 * manner.reach * math.sin(2 * math.pi * 1.6 * manner.pace * t + manner.phase)
    upper, fore = (115, 10), (172 - swing, 0)
    rest_upper, rest_fore = (8, 20), (12, 60)
    if manner.right_handed:
        limbs = _limbs(manner, upper_arm=(*upper, *rest_upper), forearm=(*fore, *rest_fore), thigh=(4, 0))
    else:
        limbs = _limbs(manner, upper_arm=(*rest_upper, *upper), forearm=(*rest_fore, *fore), thigh=(4, 0))
    return Pose(limbs)


def jumping_jack(manner: Manner, t: float) -> Pose:
    """Arms and legs out and in, the feet off the ground in between."""
    angle = 2 * math.pi * 0.95 * manner.pace * t + manner.phase
    out = (1 - math.cos(angle)) / 2
    legs = 3 + 23 * manner.reach * out
    limbs = _limbs(
        manner,
        upper_arm=(12 + 140 * manner.reach * out, 5),
        forearm=(15 + 150 * manner.reach * out, 5),
        thigh=(legs, 0),
        shin=(legs, 0),
    )
    return Pose(limbs, hop=0.05 * math.sin(angle) ** 2)


def squat(manner: Manner, t: float) -> Pose:
    """Down with the arms stretched forwards, and up."""
    down = (1 - math.cos(2 * math.pi * 0.5 * manner.pace * t + manner.phase)) / 2
    depth = min(1.0, manner.reach) * down
    limbs = _limbs(
        manner,
        upper_arm=(10 + 78 * down, 85),
        forearm=(12 + 78 * down, 88),
        thigh=(4 + 88 * depth, 72),
        shin=(-42 * depth, 85),
    )
    return Pose(limbs, lean=0.6 * depth)


def walk(manner: Manner, t: float) -> Pose:
    """Strides ahead, to and fro over some three metres, turning about at the ends."""
    angle = 2 * math.pi * 0.95 * manner.pace * t + manner.phase
    stride, bend = 27 * manner.reach, 48
    right, left = math.sin(angle), -math.sin(angle)
    lift_right, lift_left = max(0.0, math.cos(angle)), max(0.0, -math.cos(angle))
    limbs = _limbs(
        manner,
        upper_arm=(-22 * right, 88, -22 * left, 88),
        forearm=(22 - 22 * right, 88, 22 - 22 * left, 88),
        thigh=(stride * right + 8 * lift_right, 90, stride * left + 8 * lift_left, 90),
        shin=(stride * right - bend * lift_right, 90, stride * left - bend * lift_left, 90),
    )
    speed, span = 0.62 * manner.pace * manner.reach, 1.4  # heights a second, heights
    turn, along = _to_and_fro(speed * t, span)
    travel = (along * math.sin(manner.path), along * math.cos(manner.path))
    return Pose(limbs, lean=0.06, turn=manner.path + turn, travel=travel)


def box(manner: Manner, t: float) -> Pose:
    """Fists before the chin, striking out in turn."""
    angle = 2 * math.pi * 1.1 * manner.pace * t + manner.phase
    right, left = (max(0.0, math.sin(a)) ** 2 for a in (angle, angle + math.pi))
    reach = min(1.0, manner.reach)

    def arm(strike: float) -> tuple[tuple[float, float], tuple[float, float]]:
        strike *= reach
        return (35 + 53 * strike, 55 + 40 * strike), (140 - 50 * strike, 95)

    (right_upper, right_fore), (left_upper, left_fore) = arm(right), arm(left)
    limbs = _limbs(
        manner,
        upper_arm=(*right_upper, *left_upper),
        forearm=(*right_fore, *left_fore),
        thigh=(16, 20),
        shin=(2, 0),
    )
    return Pose(limbs, lean=0.12, hop=0.012 * abs(math.sin(angle)), turn=0.22 * (right - left))


def _to_and_fro(walked: float, span: float) -> tuple[float, float]:
    """(turn, place) after walking so far on a path of length ``span``, from its middle; turns about at both ends."""
    lap, rest = divmod(walked + span / 2, span)
    back = bool(int(lap) % 2)
    turned = min(1.0, rest / 0.3) if lap else 1.0  # share of the turn that began at the last end
    turn = math.pi * (turned if back else 1 - turned)
    return turn, span / 2 - rest if back else rest - span / 2


Action = Callable[[Manner, float], Pose]
ACTIONS: dict[str, Action] = {
    "standing": stand,
    "waving": wave,
    "jumping-jacks": jumping_jack,
    "squats": squat,
    "walking": walk,
    "boxing": box,
}
BACKGROUND = "standing"


@dataclass(frozen=True, slots=True)
class Build:
    """A person's proportions, in heights."""

    leg: float
    trunk: float
    arm: float
    shoulders: float  # half their width
    hips: float
    head: float  # radius
    girth: float  # thickness of limbs compared to the usual

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        leg = rng.uniform(0.45, 0.5)
        return cls(
            leg,
            rng.uniform(0.29, 0.32),
            rng.uniform(0.31, 0.35),
            rng.uniform(0.1, 0.13),
            rng.uniform(0.05, 0.07),
            rng.uniform(0.058, 0.07),
            rng.uniform(0.8, 1.35),
        )


def place_joints(build: Build, pose: Pose, turn: float) -> Floats:
    """``JOINTS`` (16, 3) of a person in a room turned by ``turn``: x to the right, y up, z towards the camera."""
    lift, azimuth = pose.limbs[:, 0], pose.limbs[:, 1]
    side = np.array([-1.0, 1.0] * 4)  # the right hand is at negative x of a person who faces the camera
    reach = np.array([build.arm * 0.5] * 4 + [build.leg * 0.5] * 4)
    ways = np.stack([side * np.sin(lift) * np.cos(azimuth), -np.cos(lift), np.sin(lift) * np.sin(azimuth)], axis=1)
    limbs = ways * reach[:, None]

    joints = np.zeros((16, 3))
    spine = np.array([0.0, math.cos(pose.lean), math.sin(pose.lean)])
    joints[1] = build.trunk * spine
    joints[2] = joints[1] + (0.05 + build.head) * np.array([0.0, math.cos(pose.lean / 2), math.sin(pose.lean / 2)])
    joints[15] = joints[2] + build.head * np.array([0.0, 0.22, -0.25])
    joints[3:5] = joints[1] - 0.02 * spine
    joints[3:5, 0] += np.array([-1, 1]) * build.shoulders
    joints[5:7] = joints[3:5] + limbs[UPPER_ARM : UPPER_ARM + 2]
    joints[7:9] = joints[5:7] + limbs[FOREARM : FOREARM + 2]
    joints[9:11, 0] = np.array([-1, 1]) * build.hips
    joints[11:13] = joints[9:11] + limbs[THIGH : THIGH + 2]
    joints[13:15] = joints[11:13] + limbs[SHIN : SHIN + 2]

    feet = joints[13:15]
    joints -= (feet[:, 0].mean(), feet[:, 1].min() - pose.hop, feet[:, 2].mean())  # the lower foot is on the ground
    joints = joints @ _about_vertical(pose.turn)
    joints[:, [0, 2]] += pose.travel
    return joints @ _about_vertical(turn)


def _about_vertical(angle: float) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
