"""torch -> graphs that edge_runtime runs, each compared with torch before its file is written."""

from trainer.export.imfe import export_imfe
from trainer.export.imfe_clip import export_clip
from trainer.export.lstr import export_lstr
from trainer.export.provenance import describe
from trainer.export.step import export_rtstgcn
from trainer.export.write import ParityError

__all__ = ["ParityError", "describe", "export_clip", "export_imfe", "export_lstr", "export_rtstgcn"]
