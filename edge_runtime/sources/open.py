"""The source options of every command, and the source they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Source
from edge_runtime.sources.camera import CameraSource
from edge_runtime.sources.demo import DemoSource
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.skeleton import open_skeleton
from edge_runtime.sources.stream import StreamSource
from edge_runtime.sources.video import VideoSource


def add_source_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that choose a source, exactly one of them (or none, unless ``required``)."""
    group = parser.add_argument_group("source")
    one = group.add_mutually_exclusive_group(required=required)
    one.add_argument("--camera", metavar="N|PATH", help="camera number, /dev/videoN or /dev/v4l/by-id/...")
    one.add_argument("--video", metavar="FILE", type=Path, help="video file")
    one.add_argument("--rtsp", metavar="URL", help="network stream: rtsp, http or tcp; ${NAME} is read as a secret")
    one.add_argument("--images", metavar="DIR", type=Path, help="folder of pictures, in natural order")
    one.add_argument(
        "--skeleton", metavar="FILE|-", help="joints or sensors: .npy (C, L, V[, M]), .csv, or - for stdin"
    )
    one.add_argument("--demo", action="store_true", help="a generated person doing one action after another")
    group.add_argument("--rate", metavar="HZ", type=float, help="of pictures or samples without a clock of their own")
    group.add_argument("--size", metavar="WxH", type=_size, help="ask this of the camera")
    group.add_argument("--fps", metavar="HZ", type=float, help="ask this of the camera")


def open_source(options: argparse.Namespace, model_fps: float) -> Source:
    """The source that ``options`` (of ``add_source_options``) name.

    ``model_fps`` is the rate of files that have no clock and for which no ``--rate`` was given.

    Raises:
        InputError: it cannot be opened, or no source was named.
        SourceLostError: a network stream that does not answer.
    """
    for name in ("rate", "fps"):
        value = getattr(options, name)
        if value is not None and not 0 < value <= 10_000:
            raise InputError(f"--{name}: expected a number of hertz above 0, found {value:g}")
    rate = options.rate or model_fps
    if options.camera is not None:
        return CameraSource(options.camera, size=options.size, fps=options.fps)
    if options.video is not None:
        return VideoSource(options.video)
    if options.rtsp is not None:
        return StreamSource(options.rtsp)
    if options.images is not None:
        return ImagesSource(options.images, rate)
    if options.skeleton is not None:
        return open_skeleton(options.skeleton, options.rate, model_fps)
    if options.demo:
        return DemoSource()
    raise InputError("no source: give one of --camera, --video, --rtsp, --images, --skeleton, --demo")


def _size(text: str) -> tuple[int, int]:
    """``640x480`` as (640, 480)."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 640x480, found {text!r}")
    return int(width), int(height)
