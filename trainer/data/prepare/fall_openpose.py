"""Fall detection on OpenPose-18 skeletons: sit, fall, stand; joints that were not found are (0, 0).

A frame's file lists the people in it. The first is followed, who fills the picture in these clips; a frame without
anybody keeps the last pose, so that the clip's clock goes on.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import InputError
from trainer.data.prepare import Recording, find

LABELS = ("sitting", "falling", "standing")
GRAPH = "openpose-18.json"
FPS = 10.0  # what the clips look like; the archive does not say
VAL = frozenset({"Sitting_15", "Falling_08", "Standing_02"})

JOINTS = 18
CLIP, FIRST_COORDINATE = 4, 5  # places in a person's list


def recordings(source: Path) -> Iterator[Recording]:
    """Clips of ``raw_skeletons.tar.gz``; a group is a clip."""
    clips: dict[str, list[tuple[int, list[Any]]]] = {}
    for people in _frames(find(source, "raw_skeletons.tar.gz")):
        clip, _, picture = str(people[0][CLIP]).partition("/")
        clips.setdefault(clip, []).append((int(picture.partition(".")[0]), people[0]))
    for clip, frames in sorted(clips.items()):
        frames.sort(key=lambda item: item[0])
        first, last = frames[0][0], frames[-1][0]
        poses = dict(frames)
        x = np.zeros((last - first + 1, JOINTS, 2), dtype=np.float32)
        labels = np.full(len(x), _label(clip))
        person = frames[0][1]
        for i in range(len(x)):
            person = poses.get(first + i, person)
            x[i] = np.asarray(person[FIRST_COORDINATE:], dtype=np.float32).reshape(JOINTS, 2)
        yield Recording(clip, clip, x.transpose(2, 0, 1), labels)


def _label(clip: str) -> int:
    """A clip is of one action and named after it: ``Sitting_01``, ``FallingDown_02``."""
    for index, action in enumerate(LABELS):
        if clip.lower().startswith(action):
            return index
    raise InputError(f"clip '{clip}' is of none of the actions {', '.join(LABELS)}")


def _frames(file: Path) -> Iterator[list[list[Any]]]:
    """People of each frame in which somebody was found."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                stream = archive.extractfile(member) if "skeleton_res/" in member.name and member.isfile() else None
                if stream is not None and (people := json.loads(stream.read())):
                    yield people
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise InputError(f"{file}: not a readable archive of skeletons: {error}") from error
