"""On-device runtime for real-time human action recognition.

>>> from edge_runtime import ImfeStream, RtStgcnStream
>>> with ImfeStream("imfe.onnx", hop=6) as imfe, RtStgcnStream("rtstgcn.onnx") as gcn:
...     out = imfe.step(frame)            # uint8 RGB (H, W, 3); None until a hop is complete
...     if out is not None:
...         logits = gcn.step(out.regions)  # (D, V) -> (classes,)
"""

from edge_runtime.errors import EdgeError, InputError, SourceLostError
from edge_runtime.streams import ClipStream, ImfeOutput, ImfeStream, RtStgcnBatch, RtStgcnStream, open_motion_stream

__version__ = "0.1.0"

__all__ = [
    "ClipStream",
    "EdgeError",
    "ImfeOutput",
    "ImfeStream",
    "InputError",
    "RtStgcnBatch",
    "RtStgcnStream",
    "SourceLostError",
    "__version__",
    "open_motion_stream",
]
