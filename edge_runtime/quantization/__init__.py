"""Smaller and faster models: int8 where it wins on this machine and does not hurt, fp32 everywhere else.

``rtstgcn`` and ``imfe`` put the parts together for one kind of model each, and write the decision into the file:

    rtstgcn   ``matmul`` rewrites MatMuls, ``calibration`` learns their input ranges, ``auto`` decides
    imfe      ``qdq`` rewrites convolutions, ``frames`` reads what they are calibrated on, ``assembly`` joins the stages
    both      ``measure``: parity, and speed in turns
    ``half``  fp16 instead, for a GPU
"""
