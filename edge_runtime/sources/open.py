"""The source options of every command, and the source they mean."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Source
from edge_runtime.sources.camera import CameraSource, list_cameras
from edge_runtime.sources.demo import DemoSource
from edge_runtime.sources.gstreamer import GstreamerSource
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.mjpeg import MjpegSource
from edge_runtime.sources.picamera import PicameraSource
from edge_runtime.sources.playback import LiveSource, LoopedSource
from edge_runtime.sources.skeleton import open_skeleton
from edge_runtime.sources.stream import StreamSource
from edge_runtime.sources.supervised import SupervisedSource
from edge_runtime.sources.supervision import Patience
from edge_runtime.sources.video import VideoSource

# Which sources an option is for; with another it would do nothing, and say nothing.
_ONLY_FOR = {
    "loop": ("video", "images", "demo"),
    "live": ("video", "images", "demo"),
    "rate": ("images", "skeleton"),
    "size": ("camera",),
    "fps": ("camera",),
    "give_up_after": ("camera", "rtsp", "gstreamer"),
}


def add_source_options(parser: argparse.ArgumentParser, *, required: bool = True) -> argparse._MutuallyExclusiveGroup:
    """Add the options that choose a source, exactly one of them (or none, unless ``required``).

    Returns their group, to which a command may add a way of its own.
    """
    group = parser.add_argument_group("source")
    one = group.add_mutually_exclusive_group(required=required)
    one.add_argument(
        "--camera", metavar="N|PATH", help="number, /dev/videoN, /dev/v4l/by-id/..., picamera or picamera:N"
    )
    one.add_argument("--video", metavar="FILE|-", type=Path, help="video file, or - for Motion JPEG on standard input")
    one.add_argument("--rtsp", metavar="URL", help="network stream: rtsp, http or tcp; ${NAME} is read as a secret")
    one.add_argument("--gstreamer", metavar="PIPELINE", help="a pipeline that ends in appsink")
    one.add_argument("--images", metavar="DIR", type=Path, help="folder of pictures, in natural order")
    one.add_argument(
        "--skeleton", metavar="FILE|-", help="joints or sensors: .npy (C, L, V[, M]), .csv, or - for stdin"
    )
    one.add_argument("--demo", action="store_true", help="a generated person doing one action after another")
    group.add_argument(
        "--loop", action="store_true", help="video, folder or demo from its start again, until told to stop"
    )
    group.add_argument(
        "--live", action="store_true", help="video, folder or demo as a camera would send it, in its time"
    )
    group.add_argument("--list-cameras", action=_ListCameras, help="print this machine's cameras and leave")
    group.add_argument("--rate", metavar="HZ", type=float, help="of pictures or samples without a clock of their own")
    group.add_argument("--size", metavar="WxH", type=_size, help="ask this of the camera")
    group.add_argument("--fps", metavar="HZ", type=float, help="ask this of the camera")
    group.add_argument(
        "--give-up-after",
        metavar="S",
        type=float,
        help="exit 3 when a live source is gone this long; also the time it has to answer at the start "
        "(default: none at the start, later for ever)",
    )
    return one


def check_source_options(options: argparse.Namespace) -> None:
    """What can be wrong with them without a look at the source.

    Raises:
        InputError: a rate or a time that is none, or an option that this source has no use for.
    """
    for name, unit in (("rate", "hertz"), ("fps", "hertz"), ("give_up_after", "seconds")):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')}: expected {unit} above 0, found {value:g}")
    for name, sources in _ONLY_FOR.items():
        if _given(options, name) and not any(_given(options, source) for source in sources):
            fitting = ", ".join(f"--{source}" for source in sources)
            raise InputError(f"--{name.replace('_', '-')} does nothing with this source; it is for {fitting}")
    if str(options.video) == "-" and (options.loop or options.live):
        raise InputError("--loop and --live are for a recording; standard input can be read once, as it comes")


def open_source(options: argparse.Namespace, model_fps: float) -> Source:
    """The source that ``options`` (as `check_source_options` passes them) name; one that can be lost comes supervised.

    ``model_fps`` is the rate of files that have no clock and for which no ``--rate`` was given.

    Raises:
        InputError: it cannot be opened, or no source was named.
        SourceLostError: a live source that does not answer.
    """
    try:
        return _open(options, model_fps)
    except OSError as error:  # a name too long, a folder that may not be entered: asking whether it exists raises these
        raise InputError(f"{str(error.filename)[:100]}: {error.strerror}; check the path") from None


def _given(options: argparse.Namespace, name: str) -> bool:
    return getattr(options, name) not in (None, False)


def waits(options: argparse.Namespace) -> bool:
    """Whether the source that ``options`` name waits for whoever reads it: it is no camera, and not to act as one."""
    return not options.live and all(getattr(options, name) is None for name in ("camera", "rtsp", "gstreamer"))


def _open(options: argparse.Namespace, model_fps: float) -> Source:
    open_recording = _recording(options, model_fps)
    if open_recording is not None:
        source = LoopedSource(open_recording) if options.loop else open_recording()
        return LiveSource(source) if options.live else source
    connect = _live(options)
    if connect is not None:
        return SupervisedSource(connect, Patience(give_up_after_s=options.give_up_after))
    if options.video is not None:
        return MjpegSource()
    if options.skeleton is not None:
        return open_skeleton(options.skeleton, options.rate, model_fps)
    raise InputError("no source: give one of --camera, --video, --rtsp, --gstreamer, --images, --skeleton, --demo")


def _recording(options: argparse.Namespace, model_fps: float) -> Callable[[], Source] | None:
    """How to open the recording that was named (the demo is one, made as it is read); None where there is none."""
    if options.video is not None and str(options.video) != "-":
        return lambda: VideoSource(options.video)
    if options.images is not None:
        return lambda: ImagesSource(options.images, options.rate or model_fps)
    if options.demo:
        return DemoSource
    return None


def _live(options: argparse.Namespace) -> Callable[[], Source] | None:
    """How to connect to the live source that was named; None where it is none."""
    if options.camera is not None:
        return connect_camera(options.camera, size=options.size, fps=options.fps)
    if options.rtsp is not None:
        return lambda: StreamSource(options.rtsp)
    if options.gstreamer is not None:
        return lambda: GstreamerSource(options.gstreamer)
    return None


def connect_camera(name: str, *, size: tuple[int, int] | None = None, fps: float | None = None) -> Callable[[], Source]:
    """How to connect to a camera by the name that ``--camera`` takes.

    Raises:
        InputError: no such name can be. That there is such a camera shows on connecting.
    """
    kind, _, number = name.partition(":")
    if kind != "picamera":
        return lambda: CameraSource(name, size=size, fps=fps)
    if number and not number.isdecimal():
        raise InputError(f"--camera {name}: expected picamera or picamera:N")
    return lambda: PicameraSource(int(number or 0), size=size, fps=fps)


class _ListCameras(argparse.Action):
    """Prints and ends, as ``--help`` does."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        lines = []
        for camera in list_cameras():
            lines.append(f"{camera.device}  {camera.name}")
            lines += [f"    {path}" for path in camera.stable]
        sys.stdout.write(
            "\n".join(lines) or "no V4L2 camera here; one on a Raspberry Pi's CSI port is --camera picamera"
        )
        sys.stdout.write("\n")
        parser.exit()


def _size(text: str) -> tuple[int, int]:
    """``640x480`` as (640, 480)."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 640x480, found {text!r}")
    return int(width), int(height)
