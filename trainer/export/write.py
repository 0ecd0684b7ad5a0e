"""The last steps of every export: simplify, name, check against torch, and only then put the file in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxsim
from numpy.typing import NDArray

from edge_runtime.errors import EdgeError, InputError
from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.metadata import Metadata, to_props
from trainer.export.order import copies_of, write_after

# Largest difference to torch over the largest value. Summing in another order costs about 1e-6; a wrong graph, 1e-1.
TOLERANCE = 1e-4

# A product and its bias would become Reshape, Gemm, Reshape: no faster in fp32, and none of the MatMuls that int8 takes
# (Shift-GCN's dynamic int8: 1103 us a step without these, 1240 with them).
GEMM_FUSIONS = ["fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched"]

Check = Callable[[ModelFile], float]  # runs the file as a device will; gives its relative error against torch


class ParityError(EdgeError):
    """The exported graph does not compute what the network computes."""


def write_model(
    model: onnx.ModelProto,
    metadata: Metadata | Mapping[str, str],
    out: str | Path,
    check: Check,
    order: Mapping[str, str] | None = None,
) -> float:
    """Write ``model`` to ``out`` if it loads in the runtime and passes ``check``; else no file is left.

    Args:
        metadata: of one of our models, or the properties of a file that is to be known by its signature alone.
        order: tensors to be written after others, see :func:`write_after`.

    Returns:
        The relative error that was found.

    Raises:
        ParityError: an error above ``TOLERANCE``.
        InputError: ``out`` cannot be written.
    """
    out = Path(out)
    simplified, agrees = onnxsim.simplify(model, skipped_optimizers=GEMM_FUSIONS)
    if not agrees:
        raise ParityError(f"{out.name}: onnxsim changed what the graph computes; nothing was written")
    write_after(simplified, order or {}, copies_of(model, order or {}))
    props = metadata if isinstance(metadata, Mapping) else to_props(metadata)
    onnx.helper.set_model_props(simplified, dict(props))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".export-", dir=out.parent)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    try:
        draft = Path(folder) / out.name
        onnx.save(simplified, str(draft))
        difference = check(load_model(draft))
        if not difference <= TOLERANCE:  # NaN is a failure too
            raise ParityError(
                f"{out.name}: differs from torch by {difference:.1e} of the largest value, allowed is {TOLERANCE:.0e}; "
                "nothing was written"
            )
        draft.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return difference


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest difference over the largest expected magnitude."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
