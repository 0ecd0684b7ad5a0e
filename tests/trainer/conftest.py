"""One thread for torch: the machine's cores are shared, and sums keep their order."""

import torch

torch.set_num_threads(1)
