"""What IMFE replaces, at full size: ``python -m benchmarks.flow VIDEO``.

The published teacher looks at optical flow: five flow pictures a clip, then a ResNet-50 over them. IMFE learns its
features from the frames alone. Both give one feature every six frames; here each is timed on the same frames, in turns:

    TV-L1 + ResNet-50   the published flow (opencv-contrib must be there, else this row says so)
    DIS + ResNet-50     the fastest flow that OpenCV has, at its medium setting
    IMFE                the full network, as a stream

Random weights: they change no time. The flow network runs in onnxruntime too. *After the last frame* is what a user
waits for; flow of a pair is computed as soon as its second frame is there.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from edge_runtime.streams import ImfeStream
from trainer.data.flow import DenseFlow, as_picture, middle
from trainer.export.imfe import export_imfe
from trainer.nets.imfe import CONFIGS, Imfe
from trainer.nets.tsn import FLOW_IMAGES, SIZE, FlowTsn

Image = npt.NDArray[np.uint8]
CLIP = 6


@dataclass
class FlowFeatures:
    """Five flows of adjacent frames, then the flow network: frames in, a feature after each sixth."""

    flow: DenseFlow
    network: ort.InferenceSession
    previous: Image | None = None
    pictures: list[Image] = field(default_factory=list)

    def step(self, frame: Image) -> npt.NDArray[np.float32] | None:
        """uint8 RGB (H, W, 3) -> (2048,) or None."""
        gray = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
        if self.previous is None:  # a clip's first frame
            self.previous = gray
            return None
        self.pictures.append(middle(as_picture(self.flow(self.previous, gray)), SIZE))
        self.previous = gray
        if len(self.pictures) < FLOW_IMAGES:
            return None
        stacked = np.concatenate(self.pictures)[None]  # (1, 10, 224, 224)
        self.previous, self.pictures = None, []
        feature: npt.NDArray[np.float32] = self.network.run(None, {"flow": stacked})[0][0]
        return feature


def flow_methods() -> Iterator[tuple[str, cv2.DenseOpticalFlow]]:
    """The flows that this OpenCV has."""
    if hasattr(cv2, "optflow"):
        yield "TV-L1", cv2.optflow.DualTVL1OpticalFlow_create()
    yield "DIS", cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def programs(folder: Path, threads: int) -> dict[str, Callable[[Image], object]]:
    """What takes one frame and gives a feature now and then, by name."""
    torch.manual_seed(0)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    export_imfe(Imfe(CONFIGS["base"]).eval(), folder / "imfe.onnx")
    warnings.simplefilter("ignore")  # of torch's exporter, that it is the old one
    given = (torch.zeros(1, 2 * FLOW_IMAGES, SIZE, SIZE, dtype=torch.uint8),)
    tsn = folder / "tsn.onnx"
    torch.onnx.export(FlowTsn().eval(), given, str(tsn), input_names=["flow"], opset_version=17, dynamo=False)
    session = ort.InferenceSession(tsn, options, providers=["CPUExecutionProvider"])
    found: dict[str, Callable[[Image], object]] = {
        f"{name} + ResNet-50": FlowFeatures(DenseFlow(method), session).step for name, method in flow_methods()
    }
    return found | {"IMFE": ImfeStream(folder / "imfe.onnx", hop=CLIP, threads=threads).step}


def frames_of(video: Path, count: int, height: int, width: int) -> Iterator[Image]:
    """So many frames in RGB, the video over and over."""
    given = 0
    while given < count:
        capture = cv2.VideoCapture(str(video))
        before = given
        while given < count and (picture := capture.read()[1]) is not None:
            yield np.asarray(cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_BGR2RGB), np.uint8)
            given += 1
        if given == before:
            raise SystemExit(f"{video}: not a readable video")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, help="frames to look at: the time of a flow depends on what moves")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=8, help="timed, after one to warm up (default: %(default)s)")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    config = CONFIGS["base"]
    frames = list(frames_of(args.video, CLIP * (args.clips + 1), config.height, config.width))
    after: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        named = programs(Path(folder), args.threads)
        for start in range(0, len(frames), CLIP):
            for name, step in named.items():
                begun = time.perf_counter()
                for frame in frames[start : start + CLIP - 1]:
                    step(frame)
                last = time.perf_counter()
                assert step(frames[start + CLIP - 1]) is not None
                ended = time.perf_counter()
                if start:
                    after.setdefault(name, []).append(ended - last)
                    whole.setdefault(name, []).append(ended - begun)
    if "TV-L1 + ResNet-50" not in named:
        print("TV-L1 is not in this OpenCV: pip install opencv-contrib-python-headless\n")
    print("| 256 x 344, a feature every 6 frames | after the last frame | | frames a second | |")
    print("|---|---|---|---|---|")
    latency, time_ = statistics.median(after["IMFE"]), statistics.median(whole["IMFE"])
    for name in named:
        a, w = statistics.median(after[name]), statistics.median(whole[name])
        print(f"| {name} | {1e3 * a:.0f} ms | {a / latency:.2f}x | {CLIP / w:.1f} | {time_ / w:.2f}x |")


if __name__ == "__main__":
    main()
