"""A state dict fitted to a network, with errors that say what is wrong."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_runtime.errors import InputError


def load_state(
    model: nn.Module,
    checkpoint: dict[str, Any],
    key: str,
    origin: str,
    unused: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> list[str]:
    """Load ``checkpoint[key]`` (or the checkpoint itself, when it is a bare state dict) into ``model``.

    A ``module.`` prefix left by DistributedDataParallel is taken off.

    Args:
        unused: prefixes of names that may be there without the network having them.
        optional: names of the network that may be absent; it keeps its own values.

    Returns:
        The names left out because of ``unused``.

    Raises:
        InputError: a missing name, an unknown one, or a shape that differs.
    """
    state = checkpoint.get(key, checkpoint)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{origin}: expected a state dict under '{key}', found keys {sorted(map(str, checkpoint))[:5]}"
        )
    state = {name.removeprefix("module."): value for name, value in state.items()}
    own = model.state_dict()
    ignored = [name for name in state if name not in own and name.startswith(unused)] if unused else []
    missing = [name for name in own if name not in state and name not in optional]
    unknown = [name for name in state if name not in own and name not in ignored]
    if missing:
        raise InputError(
            f"{origin}: {len(missing)} tensors are missing, first '{missing[0]}'; is the config the right one?"
        )
    if unknown:
        raise InputError(
            f"{origin}: {len(unknown)} unknown tensors, first '{unknown[0]}'; is the config the right one?"
        )
    fitting = {name: value for name, value in own.items() if name in state}
    for name, value in fitting.items():
        if state[name].shape != value.shape:
            raise InputError(
                f"{origin}: '{name}' has shape {tuple(state[name].shape)}, the config makes it {tuple(value.shape)}"
            )
    model.load_state_dict({name: state[name] for name in fitting}, strict=False)
    return ignored
