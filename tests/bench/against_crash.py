"""Whole-process comparison with crash on the same dumps, side by side in one run.

usage: python3 tests/bench/against_crash.py CORES [--crashkit COMMAND] [--runs N]

Prints a table in the form of docs/benchmarks.md. Both commands alternate, so that a
machine that drifts slows both; minima and medians are shown. CORES is a folder made by
.ci/lab-cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "clash-ct-net" / "vmcore"
STOCK = ("clash-stock-6.1", "sysrq-6.1/kdump-zlib")


@dataclass
class Run:
    wall: float
    cpu: float
    peak_mib: float


def measure(command: list[str]) -> Run:
    """Run one command; the kernel's own accounting of that process."""
    started = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}: {' '.join(command)}")
    wall = time.monotonic() - started
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def vmlinux(cores: Path) -> Path:
    """The vmlinux of the -dbg package that the lab unpacked."""
    folder = Path((cores / "debuginfo-6.1").read_text().strip())
    return next(folder.rglob("lib/modules/*/vmlinux"))


def row(title: str, runs: list[Run]) -> str:
    walls = [run.wall for run in runs]
    cpu = statistics.median(run.cpu for run in runs)
    peak = max(run.peak_mib for run in runs)
    return (
        f"| {title} | {min(walls):.2f} / {statistics.median(walls):.2f} s | {cpu:.2f} s"
        f" | {peak:.0f} MB |"
    )


def compare(dump: Path, kernel: Path, crashkit: str, runs: int) -> None:
    """Alternate the two commands and print two rows."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as script:
        script.write("bt\nexit\n")
        script.flush()
        ours = [crashkit, "triage", "--types", "btf", str(dump)]
        theirs = ["crash", "-s", "-i", script.name, str(kernel), str(dump)]
        measure(ours), measure(theirs)  # warm the page cache
        pairs = [(measure(ours), measure(theirs)) for _ in range(runs)]
    print(row(f"crashkit triage, {dump.parent.name}", [a for a, _ in pairs]))
    print(row(f"crash -s, bt, {dump.parent.name}", [b for _, b in pairs]))
    ratio = statistics.median(b.wall / a.wall for a, b in pairs)
    print(f"| ratio of the pairs, median | {ratio:.1f} | | |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cores", type=Path)
    parser.add_argument("--crashkit", default="crashkit")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    print("| whole process | wall min / median | CPU median | peak RSS |\n|---|---|---|---|")
    measure([arguments.crashkit, "triage", str(SAMPLE)])
    sample = [measure([arguments.crashkit, "triage", str(SAMPLE)]) for _ in range(arguments.runs)]
    print(row("crashkit triage, committed sample", sample))
    for name in STOCK:
        dump = arguments.cores / name / "vmcore"
        compare(dump, vmlinux(arguments.cores), arguments.crashkit, arguments.runs)


if __name__ == "__main__":
    main()
