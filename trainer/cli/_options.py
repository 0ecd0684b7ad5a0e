"""Options that several commands share. (A leading underscore: not a command.)"""

from __future__ import annotations

import argparse

from edge_runtime.models.metadata import Provenance


def add_provenance_options(parser: argparse.ArgumentParser) -> None:
    """What an exported file says about its origin."""
    parser.add_argument("--name", help="what the model calls itself")
    parser.add_argument("--trained-on", metavar="TEXT", help="data set and split, kept in the file")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights, kept in the file")
    parser.add_argument("--citation", metavar="TEXT", help="whom to cite, kept in the file")


def provenance(args: argparse.Namespace) -> Provenance:
    """Of the file that these arguments export."""
    from trainer.export import describe

    return describe(args.checkpoint, args.trained_on, args.licence, args.citation)
