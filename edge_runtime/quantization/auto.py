"""Which products to run in int8: those that win on this machine, less those that change the answer.

1. *Speed.* Each product runs alone in every form, taking turns, with cold weights as in the network. The next form
   (fp32, dynamic, static) has to be 5 % faster to be preferred to the one before: static needs data that stay true.
2. *Accuracy.* The winners together must keep the label of 99 % of the steps. While they do not, the product that
   alone causes the largest error goes back to fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx

from edge_runtime.models.session import Binding, open_session, tensor
from edge_runtime.quantization.matmul import Range, WeightMatMul, alone, find, quantize
from edge_runtime.quantization.measure import LogitParity, Paired, clock_of, take_turns

MIN_GAIN = 1.05
MIN_AGREEMENT = 0.99
ROUNDS = 40
CACHE_BYTES = 4 * 2**20  # about what the rest of a network reads between two runs of one product

Form = Literal["fp32", "int8-dynamic", "int8-static"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that one product takes, and why."""

    output: str
    shape: tuple[int, int]
    form: Form
    why: str
    error: float | None = None  # of the logits with this product alone in int8; None where it was not asked


def search(
    model: onnx.ModelProto,
    rows: int,
    ranges: Mapping[str, Range] | None,
    parity: Callable[[onnx.ModelProto], LogitParity],
    threads: int = 1,
) -> list[Choice]:
    """Choose a form for each product of ``model``.

    Args:
        rows: rows of an activation (nodes of the graph).
        ranges: output tensor -> range of its activation; None leaves the static form out.
        parity: compares a candidate with the original.
    """
    choices = _fastest_forms(model, rows, ranges, threads)
    quantized = [choice for choice in choices if choice.form != "fp32"]
    if not quantized or parity(apply(model, choices, ranges)).agreement >= MIN_AGREEMENT:
        return choices
    errors = {choice.output: parity(apply(model, [choice], ranges)).max_error for choice in quantized}
    choices = [replace(choice, error=errors.get(choice.output)) for choice in choices]
    for worst in sorted(errors, key=errors.__getitem__, reverse=True):
        choices = [
            replace(choice, form="fp32", why=f"hurts: alone it moves a logit by {errors[worst]:.3g}")
            if choice.output == worst
            else choice
            for choice in choices
        ]
        if parity(apply(model, choices, ranges)).agreement >= MIN_AGREEMENT:
            break
    return choices


def apply(model: onnx.ModelProto, choices: list[Choice], ranges: Mapping[str, Range] | None) -> onnx.ModelProto:
    """The model with each product in its chosen form."""
    return quantize(
        model,
        dynamic=[choice.output for choice in choices if choice.form == "int8-dynamic"],
        static={choice.output: (ranges or {})[choice.output] for choice in choices if choice.form == "int8-static"},
    )


def _fastest_forms(model: onnx.ModelProto, rows: int, ranges: Mapping[str, Range] | None, threads: int) -> list[Choice]:
    forms: tuple[Form, ...] = ("fp32", "int8-dynamic") if ranges is None else ("fp32", "int8-dynamic", "int8-static")
    timed: dict[tuple[int, int], Paired] = {}
    choices = []
    for product in find(model):
        shape = (product.inner, product.outer)
        if shape not in timed:
            timed[shape] = _time_alone(product, rows, forms, threads)
        paired = timed[shape]
        best = 0
        for i, ratio in enumerate(paired.ratio):
            if ratio >= MIN_GAIN * paired.ratio[best]:
                best = i
        times = zip(forms[1:], paired.median_us[1:], paired.ratio[1:], strict=True)
        shown = ", ".join(
            [f"fp32 {paired.median_us[0]:.0f} us", *(f"{form} {us:.0f} us ({ratio:.2f}x)" for form, us, ratio in times)]
        )
        choices.append(Choice(product.output, shape, forms[best], f"{'wins' if best else 'no gain'}: {shown}"))
    return choices


def _time_alone(product: WeightMatMul, rows: int, forms: tuple[Form, ...], threads: int) -> Paired:
    """Turns of one product in each form."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((product.inner, product.outer)).astype(np.float32)
    x = random.standard_normal((1, rows, product.inner)).astype(np.float32)
    single = alone(weight, rows)
    variants = {
        "fp32": single,
        "int8-dynamic": quantize(single, dynamic=["y"]),
        "int8-static": quantize(single, static={"y": (float(x.min()), float(x.max()))}),
    }
    bindings = []
    for form in forms:
        binding = Binding(open_session(variants[form].SerializeToString(), threads=threads, name=form))
        binding.bind_input("x", tensor(x))
        binding.bind_output("y", tensor(np.zeros((1, rows, product.outer), np.float32)))
        binding.run()
        bindings.append(binding)
    elsewhere = np.ones(CACHE_BYTES // 4, np.float32)
    return take_turns([binding.run for binding in bindings], ROUNDS, elsewhere.sum, clock_of(threads))
