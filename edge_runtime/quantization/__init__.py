"""Smaller and faster models: int8 where it wins on this machine and does not hurt, fp32 everywhere else.

``matmul`` rewrites a graph's MatMuls, ``calibration`` learns their input ranges, ``parity`` and ``speed`` measure what
changed, ``auto`` decides; ``rtstgcn`` puts them together for one kind of model and writes the decision into the file.
"""
