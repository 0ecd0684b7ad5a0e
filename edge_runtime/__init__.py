"""On-device runtime for real-time human action recognition.

>>> from edge_runtime import ImfeStream, RtStgcnStream
>>> with ImfeStream("imfe.onnx", hop=6) as imfe, RtStgcnStream("rtstgcn.onnx") as gcn:
...     out = imfe.step(frame)            # uint8 RGB (H, W, 3); None until a hop is complete
...     if out is not None:
...         logits = gcn.step(out.regions)  # (D, V) -> (classes,)
"""

from typing import TYPE_CHECKING, Any

from edge_runtime.errors import EdgeError, InputError, SourceLostError

if TYPE_CHECKING:
    from edge_runtime.streams import (
        ClipStream,
        ImfeOutput,
        ImfeStream,
        LstrStream,
        RtStgcnBatch,
        RtStgcnStream,
        open_motion_stream,
    )

__version__ = "0.1.0"

__all__ = [
    "ClipStream",
    "EdgeError",
    "ImfeOutput",
    "ImfeStream",
    "InputError",
    "LstrStream",
    "RtStgcnBatch",
    "RtStgcnStream",
    "SourceLostError",
    "__version__",
    "open_motion_stream",
]


def __getattr__(name: str) -> Any:
    """The streams, on first use: onnx and onnxruntime take half a second to import, ``--help`` needs neither."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edge_runtime import streams

    return getattr(streams, name)
