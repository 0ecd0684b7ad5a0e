"""fp16 for GPU providers: half the bytes and twice the rate there; a CPU computes it slower than fp32."""

from __future__ import annotations

import dataclasses

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile, verify
from edge_runtime.models.metadata import ImfeMetadata, to_props
from edge_runtime.models.stages import cut
from edge_runtime.quantization.assembly import assemble


def to_fp16(file: ModelFile) -> ModelFile:
    """An fp32 IMFE with fp16 inside its stages; what passes between them stays fp32, as the runtime holds it.

    Raises:
        InputError: not an fp32 IMFE.
    """
    metadata = file.metadata
    if not isinstance(metadata, ImfeMetadata) or metadata.precision != "fp32":
        raise InputError(f"{file.path}: expected an fp32 IMFE; convert the original")
    stages = {
        name: convert_float_to_float16(cut(file.proto, stage), keep_io_types=True)
        for name, stage in metadata.stages.items()
    }
    model = assemble(file.proto, metadata, stages)
    decision = {"mode": "fp16", "original_sha256": file.sha256}
    onnx.helper.set_model_props(model, to_props(dataclasses.replace(metadata, precision="fp16", quantization=decision)))
    return verify(file.path, model.SerializeToString())
