"""An IMFE's stages in OpenVINO's own runtime, in turns with ours on the same inputs. It is for this benchmark only."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.stages import PARTS, Frames
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.session import open_session
from edge_runtime.models.stages import cut
from edge_runtime.quantization.measure import take_turns


def print_openvino(files: dict[str, ModelFile], frames: Frames, threads: int, rounds: int) -> None:
    """Each stage in onnxruntime and in OpenVINO, in turns on the same inputs."""
    try:
        import openvino
    except ImportError:
        print("\nOpenVINO is not installed (pip install openvino): left out")
        return
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY"}
    print(f"\n{'OpenVINO ' + openvino.__version__[:9]:<20}{'onnxruntime ms':>16}{'OpenVINO ms':>13}{'ours / its':>12}")
    for precision, file in files.items():
        metadata = file.metadata
        assert isinstance(metadata, ImfeMetadata)
        stages = {stage: cut(file.proto, metadata.stages[stage]).SerializeToString() for stage in PARTS}
        feeds = _stage_inputs(stages, metadata, frames[: metadata.clip_length])
        for stage, data in stages.items():
            session = open_session(data, threads=threads).ort
            request = core.compile_model(core.read_model(data), "CPU", settings).create_infer_request()
            runs = [partial(session.run, None, feeds[stage]), partial(request.infer, feeds[stage])]
            paired = take_turns(runs, rounds)
            ours, theirs = (us / 1e3 for us in paired.median_us)
            print(f"{precision + ' ' + stage:<20}{ours:>16.2f}{theirs:>13.2f}{paired.ratio[1]:>12.2f}")


def _stage_inputs(
    stages: dict[str, bytes], metadata: ImfeMetadata, clip: Frames
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """What each stage is fed with at the end of a clip."""
    encoder, motion = (open_session(stages[name]).ort for name in ("encoder", "motion"))
    fmaps = [encoder.run(None, {"frame": frame[None]})[0] for frame in clip]
    pairs = [motion.run(None, {"previous_fmap": a, "fmap": b})[0] for a, b in pairwise(fmaps)]
    return {
        "encoder": {"frame": clip[-1][None]},
        "motion": {"previous_fmap": fmaps[-2], "fmap": fmaps[-1]},
        "head": {metadata.stages["head"].inputs[0]: np.concatenate(pairs, axis=1)},
    }
