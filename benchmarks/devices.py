"""An IMFE on one thread here, and what that lets expect of a Raspberry Pi.

The Pi's figures are *estimates*, made so: a stage that reaches a part of this machine's peak (of a large product in
onnxruntime, of the same precision) reaches the same part of the Pi's peak, which is its clock times the multiply-adds
its units can begin in a cycle; four cores scale as two do here. Memory, heat, the camera and the rest of the runtime
are left out, so that they are upper bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peak import gemm_peak
from benchmarks.stages import PARTS, Timed, per_frame
from edge_runtime.models.inspection import Cost
from edge_runtime.models.metadata import ImfeMetadata


@dataclass(frozen=True, slots=True)
class Board:
    """Four cores; clock in GHz, multiply-adds that one of them begins in a cycle (Arm's optimisation guides)."""

    name: str
    ghz: float
    float_macs: int
    int8_macs: int

    def peak(self, *, int8: bool) -> float:
        """GMAC/s of one core."""
        return self.ghz * (self.int8_macs if int8 else self.float_macs)


BOARDS = (
    Board("Pi 5", 2.4, float_macs=8, int8_macs=32),  # Cortex-A76: two pipes of 4 floats, of 16 int8 (SDOT)
    Board("Pi 4", 1.8, float_macs=4, int8_macs=8),  # Cortex-A72: one pipe, no dot product (SMLAL)
)


@dataclass(frozen=True, slots=True)
class Row:
    """One network in one precision."""

    name: str
    int8: bool
    costs: dict[str, Cost]
    metadata: ImfeMetadata
    alone: Timed  # on one thread
    pair: Timed  # on two

    def rate(self, board: Board, cores: int, peak: float) -> float:
        """Frames a second expected of a board; ``peak`` is this machine's GMAC/s on one thread."""
        hop = self.metadata.hops[0]
        frame_s = [per_frame(timed, self.metadata, hop) for timed in (self.alone, self.pair)]
        scaling = 1 if cores == 1 else cores * frame_s[0] / (2 * frame_s[1])
        # every stage slower by the same factor: its MACs at the same part of another peak
        return scaling * board.peak(int8=self.int8) / peak / frame_s[0]


def print_devices(rows: list[Row]) -> None:
    peaks = {kind: gemm_peak(1, int8=kind) for kind in (False, True)}
    print(
        f"\nOne thread; GEMM peak {peaks[False]:.0f} GMAC/s fp32, {peaks[True]:.0f} int8. Pi: ESTIMATED upper bounds,"
    )
    print("frames a second at the default hop, one core / four cores (method: benchmarks/devices.py)")
    boards = "".join(f"{board.name:>17}" for board in BOARDS)
    print(
        f"{'':<14}{'parameters':>12}" + "".join(f"{f'{s} MMAC  ms':>20}" for s in PARTS) + f"{'ms a frame':>12}{boards}"
    )
    for row in rows:
        cells = [f"{row.costs[s].macs / 1e6:.0f}{row.alone.median_ms(s):>9.2f}" for s in PARTS]
        parameters = sum(cost.parameters for cost in row.costs.values()) / 1e6
        frame_ms = 1e3 * per_frame(row.alone, row.metadata, row.metadata.hops[0])
        rates = [[row.rate(board, cores, peaks[row.int8]) for cores in (1, 4)] for board in BOARDS]
        print(
            f"{row.name + (' int8' if row.int8 else ' fp32'):<14}{parameters:>10.2f} M"
            + "".join(f"{cell:>20}" for cell in cells)
            + f"{frame_ms:>12.2f}"
            + "".join(f"{f'{one:.1f} / {four:.1f}':>17}" for one, four in rates)
        )
