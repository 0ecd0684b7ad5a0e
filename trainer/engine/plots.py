"""Pictures of a training and a test: curves, confusion, and the segmentation of a trial beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")  # a cluster node has no display
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

Labels = npt.NDArray[np.integer[Any]]


def curves(file: Path, history: Sequence[dict[str, float]]) -> None:
    """Loss and validation metrics over epochs."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    left.plot([r["epoch"] for r in history], [r["loss"] for r in history], label="training loss")
    tested = [r for r in history if "accuracy" in r]
    for name in ("accuracy", "edit", "f1@50", "pooled_f1@50"):
        if tested and name in tested[0]:
            right.plot([r["epoch"] for r in tested], [r[name] for r in tested], marker=".", label=name)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    right.set_ylim(0, 1)
    _save(fig, file)


def confusion(file: Path, counts: Labels, labels: Sequence[str], counted: str = "frames") -> None:
    """Share of each true class's ``counted`` by predicted class, in per cent."""
    share = counts / counts.sum(1, keepdims=True).clip(min=1)
    size = 3 + 0.35 * len(labels)
    fig, axes = plt.subplots(figsize=(size + 1, size), constrained_layout=True)
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= 20:
        for i, j in np.ndindex(*share.shape):
            if share[i, j] >= 0.005:
                color = "white" if share[i, j] > 0.5 else "black"
                axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=7, color=color)
    fig.colorbar(image, ax=axes, shrink=0.7, label=f"share of the class's {counted}")
    _save(fig, file)


def segmentation(
    file: Path, name: str, truth: Labels, predicted: Labels, labels: Sequence[str], fps: float | None = None
) -> None:
    """The true and the predicted actions of one trial, one band each."""
    shown = np.unique(np.concatenate([truth, predicted]))
    palette = plt.get_cmap("tab20")
    bands = np.searchsorted(shown, np.stack([truth, predicted]))
    end = len(truth) / (fps or 1)
    fig, axes = plt.subplots(figsize=(12, 2.6), constrained_layout=True)
    axes.imshow(
        bands, aspect="auto", interpolation="nearest", cmap=palette, vmin=0, vmax=19, extent=(0, end, 1.5, -0.5)
    )
    axes.set_yticks([0, 1], ["true", "predicted"])
    axes.set_xlabel("seconds" if fps else "frames")
    axes.set_title(f"{name}: {100 * float(np.mean(truth == predicted)):.1f} % of frames right")
    handles = [Rectangle((0, 0), 1, 1, color=palette(i % 20)) for i in range(len(shown))]
    axes.legend(
        handles, [labels[i] for i in shown], ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=7
    )
    _save(fig, file)


def _save(fig: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(file, dpi=120, bbox_inches="tight")
    plt.close(fig)
