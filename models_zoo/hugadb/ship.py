"""Make the files of this folder from a finished training: ``python -m models_zoo.hugadb.ship RUN``.

``RUN`` is the out folder of ``trainer rtstgcn train``. Its weights without the optimizer's state become
``checkpoint.pt``, its history ``history.csv``, its configuration without machine paths ``config.json``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from trainer import checkpoint
from trainer.data.prepare import hugadb

HERE = Path(__file__).parent


def ship(run: Path) -> None:
    """Write the files."""
    state = checkpoint.load(run / "last.pt")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["processor"] |= {"data": "data/hugadb", "out": "results/hugadb", "actions": list(hugadb.LABELS)}
    (HERE / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    kept = {"model_state_dict": state["model_state_dict"], "labels": list(hugadb.LABELS)}
    checkpoint.save(HERE / "checkpoint.pt", kept)
    shutil.copy(run / "history.csv", HERE / "history.csv")


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
