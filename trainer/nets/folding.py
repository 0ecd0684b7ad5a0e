"""BatchNorm taken into the convolution before it: exact for a network in eval mode, and nothing left to compute."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(network: nn.Module) -> None:
    """Replace every convolution that a BatchNorm follows among its module's children, in place.

    Args:
        network: in eval mode; its modules call such children one after the other, as all of ours do.
    """
    for module in list(network.modules()):
        for (name, conv), (norm_name, norm) in pairwise(module.named_children()):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
