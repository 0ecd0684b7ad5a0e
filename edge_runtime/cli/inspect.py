"""``edge-inspect MODEL|--zoo``: what a model file is and costs, without running it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from edge_runtime.cli.exits import one_line_errors
from edge_runtime.cli.options import OneLineParser
from edge_runtime.models import zoo
from edge_runtime.models.inspection import inspect, to_text

_EXAMPLES = """\
examples:
  edge-inspect --zoo                   what is packaged, with licence and figures
  edge-inspect ut-interaction          one of them: geometry, cost, where it comes from
  edge-inspect imfe.onnx --json        a file, for a program to read
"""


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``edge-inspect``."""
    parser = OneLineParser("edge-inspect", description="Print what a model is and costs.", epilog=_EXAMPLES)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", nargs="?", help="an .onnx file or the name of a packaged model")
    what.add_argument("--zoo", action="store_true", help="list the packaged models")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    if args.zoo:
        _print_zoo(args.json)
        return 0
    report = inspect(zoo.open_model(args.model))
    print(json.dumps(dataclasses.asdict(report), indent=2) if args.json else to_text(report))
    return 0


def _print_zoo(as_json: bool) -> None:
    entries = zoo.entries()
    if as_json:
        described = {name: dataclasses.asdict(entry) for name, entry in entries.items()}
        print(json.dumps(described, indent=2, default=str))
        return
    for name, entry in entries.items():
        print(f"{name}: {entry.description}")
        for file, sha256 in entry.sha256.items():
            path = entry.folder / file
            size = f"{path.stat().st_size / 1e6:.2f} MB" if path.is_file() else "missing"
            print(f"  {file}  {size}  sha256 {sha256}")
        for key, value in (("licence", entry.licence), ("data", entry.data), ("made by", entry.made_by)):
            if value:
                print(f"  {key}: {value}")
        for key, value in entry.metrics.items():
            print(f"  {key}: {value}")
    if not entries:
        print("no packaged model")
