"""Raw-frame folders and teacher features, as published for distillation.

::

    rawframes_rgb/v_00S8I27qDU4/img_00000.jpg ...      flow/v_00S8I27qDU4.npy   one row a clip

Clips of six frames have their centres at frames 3, 9, 15, ... of all but the last frame; a clip is the frames
centre-2 ... centre+3, clipped to the last but one. Video files may stand in for the folders.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.preprocess import Preprocessor
from trainer.data.clips import VIDEO_SUFFIXES, UInt8Array, decode

log = logging.getLogger(__name__)

CLIP_LENGTH = 6
VALIDATION_VIDEOS = 300  # the last ones by name, as published
FRAME_PATTERN = "img_*.jpg"


@dataclass(frozen=True, slots=True)
class RawVideo:
    """A folder of frames, or one video file (then ``frames`` is that file alone and ``count`` its frames)."""

    name: str
    frames: tuple[Path, ...]
    count: int

    @property
    def clips(self) -> int:
        """Clips that it has."""
        return len(clip_indices(self.count))


def clip_indices(frames: int) -> npt.NDArray[np.intp]:
    """Frame numbers (n, 6) of the clips of a video of so many frames; n = 0 for fewer than five."""
    usable = frames - 1
    centres = np.arange(CLIP_LENGTH // 2, max(usable, 0), CLIP_LENGTH)
    around = np.arange(-(CLIP_LENGTH // 2), CLIP_LENGTH // 2) + 1
    return (centres[:, None] + around).clip(0, max(usable - 1, 0))


def find_videos(root: Path) -> list[RawVideo]:
    """Frame folders and video files of ``root``, by name; what has no frames is left out with a line.

    Raises:
        InputError: no such folder, or nothing usable in it.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected frame folders (video/img_00000.jpg) or video files")
    videos = []
    for path in sorted(root.iterdir()):
        if path.is_dir() and next(path.glob("*.npy"), None):
            continue  # extracted features lie beside the videos
        if path.is_dir():
            frames = tuple(sorted(path.glob(FRAME_PATTERN)))
            video = RawVideo(path.name, frames, len(frames))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            video = RawVideo(path.stem, (path,), _count_frames(path))
        else:
            continue
        if video.clips:
            videos.append(video)
        else:
            log.warning("left out: %s has %d frames, a clip needs at least 5", path, video.count)
    if not videos:
        raise InputError(f"{root}: no video of at least 5 frames; expected video/{FRAME_PATTERN} or video files")
    return videos


def _count_frames(path: Path) -> int:
    """Frames that decode: headers promise too many."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def with_features(videos: Sequence[RawVideo], features: Path) -> list[tuple[RawVideo, Path]]:
    """The videos whose teacher features fit; the others are left out with a line each.

    Raises:
        InputError: none fits.
    """
    kept = []
    for video in videos:
        file = features / f"{video.name}.npy"
        if not file.is_file():
            log.warning("left out: %s has no features %s", video.name, file)
            continue
        try:
            shape = np.load(file, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError) as error:
            log.warning("left out: %s is not an array of features (%s)", file, error)
            continue
        if len(shape) != 2 or shape[0] != video.clips:
            log.warning("left out: %s is %s, its video has %d clips: expected as many rows", file, shape, video.clips)
            continue
        kept.append((video, file))
    if not kept:
        raise InputError(
            f"{features}: no .npy there has one row a clip of a video; make them with 'trainer imfe teach'"
        )
    return kept


def read_frames(video: RawVideo, indices: Sequence[int], height: int, width: int) -> UInt8Array:
    """uint8 RGB (len(indices), height, width, 3), stretched as the runtime does it.

    Raises:
        InputError: a frame that cannot be decoded, named.
    """
    if len(video.frames) == 1 and video.frames[0].suffix.lower() in VIDEO_SUFFIXES:
        return decode(video.frames[0], height, width, max(indices) + 1).frames[list(indices)]
    resize = Preprocessor(height, width)
    out = np.empty((len(indices), height, width, 3), np.uint8)
    for target, index in zip(out, indices, strict=True):
        image = cv2.imread(str(video.frames[index]), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{video.frames[index]}: not a readable picture")
        target[:] = resize(image)
    return out
