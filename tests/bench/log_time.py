"""The kernel log out of a dump without debug info: crashkit, makedumpfile and crash in turn.

usage: python3 tests/bench/log_time.py DUMP... [--crashkit COMMAND] [--runs N]

Prints a table of whole processes: least and median wall time, median CPU time, peak memory.
`crash --log` and `makedumpfile --dump-dmesg` need no vmlinux either; one that cannot read a
dump is said so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Run:
    wall: float
    cpu: float
    peak_mib: float


def measure(command: list[str]) -> Run | None:
    """Run one command; None when it fails."""
    started = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        return None
    wall = time.monotonic() - started
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def row(title: str, runs: list[Run | None]) -> str:
    """One row of the table."""
    done = [run for run in runs if run is not None]
    if len(done) < len(runs):
        return f"| {title} | cannot | | |"
    walls = [run.wall for run in done]
    cpu = statistics.median(run.cpu for run in done)
    peak = max(run.peak_mib for run in done)
    return (
        f"| {title} | {min(walls):.3f} / {statistics.median(walls):.3f} s | {cpu:.3f} s"
        f" | {peak:.0f} MB |"
    )


def compare(dump: Path, crashkit: str, runs: int) -> None:
    """Alternate the three commands and print their rows."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "dmesg"))
        commands = {
            "crashkit log": [crashkit, "log", str(dump), "-o", out],
            "makedumpfile --dump-dmesg": ["makedumpfile", "--dump-dmesg", "-f", str(dump), out],
            "crash --log": ["crash", "--log", str(dump)],
        }
        found: dict[str, list[Run | None]] = {name: [] for name in commands}
        for number in range(runs + 1):
            for name, command in commands.items():
                run = measure(command)
                if number:  # the first round fills the page cache
                    found[name].append(run)
    size = dump.stat().st_size / (1 << 20)
    for name, taken in found.items():
        print(row(f"{name}, {dump.parent.name}/{dump.name} ({size:.0f} MiB)", taken))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="+", type=Path)
    parser.add_argument("--crashkit", default="crashkit")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    print("| command | wall, least / median | CPU | peak |\n|---|---|---|---|")
    for dump in given.dumps:
        compare(dump, given.crashkit, given.runs)


if __name__ == "__main__":
    main()
