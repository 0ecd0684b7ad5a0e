"""Runs edge-run on broken files and demands a clean end of each.

    python -m tests.fuzz --cases 10000            all kinds in turn
    python -m tests.fuzz --kind model --first 4711 --cases 1 --keep DIR      one case again, its files kept

Clean is: exit code 0 (the damage did not matter), 2 or 3, with one line of error and no traceback, within the time
limit and 3 GB of memory. Cases run in batches in processes of their own, because the worst finding (a crash in a native
library) takes its process with it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

BATCH = 400  # starting a process costs as much as forty cases
CASE_TIMEOUT_S = 60  # for one case on a busy machine; a healthy one takes 30 ms
MEMORY_BYTES = 3 << 30


@dataclass(frozen=True)
class Finding:
    """A case that did not end cleanly."""

    kind: str
    number: int
    what: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz --kind {self.kind} --first {self.number} --cases 1 --keep /tmp/finding"
        return f"{self.kind} {self.number}: {self.what}\n  again: {again}"


def fuzz(kinds: list[str], first: int, cases: int, keep: Path | None = None) -> tuple[Counter[str], list[Finding]]:
    """``cases`` cases from number ``first``, the kinds in turn: how they ended, and the findings."""
    ends: Counter[str] = Counter()
    findings: list[Finding] = []
    todo = [(kinds[number % len(kinds)], number) for number in range(first, first + cases)]
    while todo:
        batch, todo = todo[:BATCH], todo[BATCH:]
        done = 0
        for kind, number, end in _in_a_process(batch, keep):
            done += 1
            ends[f"{kind}: {end.splitlines()[0]}"] += 1
            if not end.startswith("clean"):
                findings.append(Finding(kind, number, end))
                sys.stdout.write(f"FINDING {findings[-1]}\n")
        if todo:
            sys.stdout.write(f"{sum(ends.values())} cases so far, {len(findings)} findings\n")
            sys.stdout.flush()
        todo = batch[done:] + todo
    return ends, findings


def _in_a_process(batch: list[tuple[str, int]], keep: Path | None) -> list[tuple[str, int, str]]:
    """The ends of the cases of one process; where it died or hung, that is the end of its last case."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--work",
            json.dumps(batch),
            *(["--keep", str(keep)] if keep else []),
        ]
        progress = Path(folder) / "progress"
        environ = os.environ | {"OPENCV_FFMPEG_THREADS": "1", "OMP_NUM_THREADS": "1", "TMPDIR": folder}
        with (Path(folder) / "err").open("wb") as err:
            process = subprocess.Popen([*command, "--progress", str(progress)], stderr=err, env=environ)
            seen, since = -1, time.monotonic()
            hung = False
            while process.poll() is None:
                time.sleep(0.02)
                size = progress.stat().st_size if progress.exists() else 0
                if size != seen:
                    seen, since = size, time.monotonic()
                elif time.monotonic() - since > CASE_TIMEOUT_S:
                    hung = True
                    process.kill()
        ends = [tuple(json.loads(line)) for line in progress.read_text().splitlines()] if progress.exists() else []
        if len(ends) < len(batch):
            kind, number = batch[len(ends)]
            last = (Path(folder) / "err").read_text(errors="replace")[-400:]
            what = f"hung for {CASE_TIMEOUT_S} s" if hung else f"the process ended with {process.returncode}"
            ends.append((kind, number, f"{what}\n  {last.strip()}"))
        return ends


def _work(batch: list[tuple[str, int]], progress: Path, keep: Path | None) -> None:
    """The child: run each case in this process and write down how it ended."""
    from tests.fuzz import seeds

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as home, progress.open("a", buffering=1) as log:
        healthy = seeds.make(Path(home))
        for kind, number in batch:
            with tempfile.TemporaryDirectory() as folder:
                arguments = seeds.KINDS[kind](healthy, Path(folder), random.Random(f"{kind} {number}"))
                if keep is not None:
                    shutil.copytree(folder, keep / f"{kind}-{number}", dirs_exist_ok=True)
                log.write(json.dumps([kind, number, _run(arguments, Path(folder))]) + "\n")


def _run(arguments: list[str], folder: Path) -> str:
    """How edge-run ended: ``clean 0|2|3``, or what was wrong."""
    from edge_runtime.cli.run import _main

    said = folder / "said"
    keep_in, keep_err = os.dup(0), os.dup(2)
    stdin = os.open(folder / "stdin" if (folder / "stdin").exists() else os.devnull, os.O_RDONLY)
    err = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(stdin, 0)
    os.dup2(err, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - one that has not seen the end of the file before
    try:
        with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
            code, hanging = _main(arguments)
    except BaseException as error:
        return f"{type(error).__name__}: {error} {' '.join(arguments)}"[:400]
    finally:
        os.dup2(keep_in, 0)
        os.dup2(keep_err, 2)
        for descriptor in (keep_in, keep_err, stdin, err):
            os.close(descriptor)
    text = said.read_text(errors="replace")
    if hanging:
        return "a thread hangs"
    if "Traceback" in text:
        return f"a traceback\n{text[-600:]}"
    if code not in (0, 2, 3):
        return f"exit code {code}\n{text[-300:]}"
    # a camera of a site that fails while the others run is a line of the log
    told = sum(line.startswith(("error: ", "camera ")) for line in text.splitlines())
    if code and told != 1 and not (told == 2 and "--config" in arguments):
        return f"exit code {code} without one line of error\n{text[-300:]}"
    return f"clean {code}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kind", help="one kind only")
    parser.add_argument("--keep", type=Path, help="copy the broken files there")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(json.loads(options.work), options.progress, options.keep)
        return 0
    from tests.fuzz.seeds import KINDS

    begun = time.monotonic()
    kinds = [options.kind] if options.kind else list(KINDS)
    ends, findings = fuzz(kinds, options.first, options.cases, options.keep)
    for end, count in sorted(ends.items()):
        sys.stdout.write(f"{count:7}  {end}\n")
    sys.stdout.write(f"{options.cases} cases, {len(findings)} findings, {time.monotonic() - begun:.0f} s\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
