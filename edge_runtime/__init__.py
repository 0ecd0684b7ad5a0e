"""On-device runtime for real-time human action recognition.

>>> from edge_runtime import ImfeStream, RtStgcnStream
>>> with ImfeStream("imfe.onnx", hop=6) as imfe, RtStgcnStream("rtstgcn.onnx") as gcn:
...     out = imfe.step(frame)            # uint8 RGB (H, W, 3); None until a hop is complete
...     if out is not None:
...         logits = gcn.step(out.regions)  # (D, V) -> (classes,)
"""

from edge_runtime.errors import EdgeError, InputError, SourceLostError

__version__ = "0.1.0"

__all__ = ["EdgeError", "InputError", "SourceLostError", "__version__"]
