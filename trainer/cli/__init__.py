"""``trainer``: everything that happens to a network before it is on a device.

One file a sub-command, and its name is the command: ``imfe_export.py`` is ``trainer imfe export``, ``prepare.py`` is
``trainer prepare``. Each has ``add_parser(subparsers, name)``, which sets ``run``, a function of the parsed arguments.
They import torch only when run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence

from edge_runtime.cli.exits import one_line_errors
from edge_runtime.cli.options import OneLineParser

GROUPS = {
    "imfe": "the motion feature network: six RGB frames -> one feature",
    "rtstgcn": "the graph network that names actions, and the family it is judged against",
}
# the family's commands are rtstgcn's; the name says which network the configuration is expected to be of
FAMILY = {
    "stgcn": "st-gcn",
    "costgcn": "co-st-gcn",
    "aagcn": "aa-gcn",
    "shiftgcn": "shift-gcn",
    "msgcn": "ms-gcn",
    "mstcn": "ms-tcn",
}

_EXAMPLES = """\
examples:
  trainer imfe finetune clips/ --out runs/mine                               your own actions, from clips/CLASS/*.mp4
  trainer prepare hugadb --source DIR --out data/hugadb                      a published dataset, laid out
  trainer rtstgcn train --config config.json --data data/hugadb --out results
docs/training-imfe.md and docs/training.md go on from there
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = OneLineParser(
        prog="trainer", description="Train, test and export the networks of edge-run.", epilog=_EXAMPLES
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    groups = {}
    for name, purpose in GROUPS.items():
        group = commands.add_parser(name, help=purpose, description=purpose)
        groups[name] = group.add_subparsers(metavar="COMMAND", required=True)
    family = []
    for name, network in FAMILY.items():
        purpose = f"the commands of rtstgcn for a configuration of {network}"
        group = commands.add_parser(name, help=purpose, description=purpose)
        group.set_defaults(network=network)
        family.append(group.add_subparsers(metavar="COMMAND", required=True))
    for module in sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_")):
        head, _, tail = module.partition("_")
        subparsers, name = (groups[head], tail) if tail and head in groups else (commands, module)
        command = importlib.import_module(f"{__name__}.{module}")
        for place in (subparsers, *(family if head == "rtstgcn" else ())):
            command.add_parser(place, name.replace("_", "-"))
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it went well, the error's own code and one line when it did not."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # oneDNN keeps a compiled product, with its scratch memory, for each of the last 1024 shapes. Clips of any length
    # give it hundreds: finetuning on 300 clips took 3.0 GB, and takes 2.2 GB and no more time with 64.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        return 130
