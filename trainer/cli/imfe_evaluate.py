"""``trainer imfe evaluate``: the accuracy of exported models on clips that they never saw, through ``edge-run``."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from trainer.engine.imfe_streamed import Named


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="name held-out clips with edge-run and compare with their labels",
        description="Each model folder is scored on the clips that its split.json holds out, or on --groups. "
        "A clip's label is the one with the largest score summed over its result lines, the background left out. "
        "Several folders (the folds of a cross-validation) are pooled. Needs no torch.",
        epilog="examples:\n  %(prog)s runs/mine --clips clips.csv\n"
        "  %(prog)s runs/fold* --clips clips.csv --out scores",
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="DIR", help="folder with imfe.onnx and its head")
    parser.add_argument("--clips", required=True, type=Path, metavar="DIR|CSV", help="labelled clips")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what the paths of the list are relative to")
    parser.add_argument("--groups", metavar="G,...", help="score these groups instead of what split.json holds out")
    parser.add_argument("--background", metavar="LABEL", help="left out of the scores (default: the models' own)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write clips.csv and confusion.png there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Score and print."""
    from trainer.data.clips import find_clips, split_by_group
    from trainer.engine.imfe_streamed import accuracy, name_clip

    clips = find_clips(args.clips, args.root)
    chosen_groups = [args.groups.split(",") if args.groups else held_out(folder) for folder in args.models]
    background = args.background or own_background(args.models)
    named: list[Named] = []
    for folder, groups in zip(args.models, chosen_groups, strict=True):
        chosen = [clip for clip in split_by_group(clips, groups)[1] if clip.label != background]
        if not chosen:
            raise InputError(f"{folder}: no clip of an action in groups {', '.join(groups)}")
        here = [name_clip(clip, folder / "imfe.onnx") for clip in chosen]
        print(f"{folder}: {100 * accuracy(here, background):.1f} % of {len(here)} clips")
        named += here
    labels = sorted({n.clip.label for n in named})
    right = sum(n.label(background) == n.clip.label for n in named)
    largest = max(sum(n.clip.label == label for n in named) for label in labels)
    print(
        f"all: {right} of {len(named)} clips, {100 * right / len(named):.1f} % "
        f"(chance {100 / len(labels):.1f} %, always the commonest {100 * largest / len(named):.1f} %)"
    )
    if args.out:
        _write(args.out, named, background)


def held_out(folder: Path) -> list[str]:
    """The groups that the training of ``folder`` never saw.

    Raises:
        InputError: it says of none.
    """
    path = folder / "split.json"
    try:
        groups = json.loads(path.read_text("utf-8"))["held_out"]
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; 'finetune' writes it, or name unseen groups with --groups"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: expected the groups held out, found something else; name them with --groups"
        ) from None
    if not groups:
        raise InputError(f"{path}: this model was trained on every group; name unseen ones with --groups")
    return [str(group) for group in groups]


def own_background(folders: Sequence[Path]) -> str | None:
    """The label that the models of ``folders`` say means that nothing is going on.

    Raises:
        InputError: they differ in it, or are no models.
    """
    from edge_runtime.pipeline.assembly import load_models

    found = {load_models(folder / "imfe.onnx", None).background for folder in folders}
    if len(found) > 1:
        raise InputError(f"the models' backgrounds differ ({', '.join(map(str, found))}); name one with --background")
    return found.pop()


def _write(out: Path, named: list[Named], background: str | None) -> None:
    from trainer.engine import plots
    from trainer.engine.imfe_streamed import confusion

    out.mkdir(parents=True, exist_ok=True)
    with (out / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip", "label", "named", "results", "scores"])
        for n in named:
            scores = " ".join(f"{label}:{score:.3f}" for label, score in n.totals)
            writer.writerow([n.clip.path.name, n.clip.label, n.label(background), n.results, scores])
    labels = sorted({n.clip.label for n in named} | {n.label(background) for n in named} - {""})
    plots.confusion(out / "confusion.png", confusion(named, labels, background), labels, "clips")
