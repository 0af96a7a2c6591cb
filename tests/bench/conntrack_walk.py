"""The connection table: the fast walk against the same walk with drgn objects, and the command.

usage: python3 tests/bench/conntrack_walk.py VMCORE [--runs N]

Prints a table in the form of docs/benchmarks.md. The walk with drgn objects follows the same
chains and reads the same members of each entry, one object for each; it is run over a
part of the entries and scaled. Both walks are CPU time of this process, the command is the
whole process as the kernel accounts for it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from drgn import Program

import crashkit
from crashkit.decode import decode_nf_conn
from crashkit.decode.conntrack_hash import for_each_conntrack
from crashkit.decode.conntrack_table import Table

PART = 20_000
"""Entries that the walk with drgn objects decodes."""
COMMAND = "import sys; from crashkit.cli import main; sys.exit(main())"


def fast(prog: Program) -> int:
    """Walk and decode everything; the number of entries."""
    return sum(1 for one in Table(prog).hash_entries() if one.row.status)


def with_objects(prog: Program, limit: int) -> int:
    """Walk and decode the same with drgn objects."""
    found = islice(for_each_conntrack(prog), limit)
    return sum(1 for ct in found if decode_nf_conn(ct).status)


def cpu(work: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds of this process, and what the work gave."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def command(vmcore: Path) -> tuple[float, float, float]:
    """Wall and CPU seconds and peak MiB of ``crashkit conntrack --format jsonl``."""
    with tempfile.NamedTemporaryFile() as out:
        words = [sys.executable, "-c", COMMAND, "conntrack", str(vmcore), "--format", "jsonl"]
        started = time.monotonic()
        with subprocess.Popen([*words, "-o", out.name], stdin=subprocess.DEVNULL) as process:
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"crashkit conntrack ended with {process.returncode}")
        wall = time.monotonic() - started
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("vmcore", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    # First, while this process is small: a child's peak begins with its parent's.
    runs = [command(arguments.vmcore) for _ in range(arguments.runs)]
    with crashkit.open(arguments.vmcore) as crash:
        number = fast(crash.prog)
        quick = [cpu(lambda: fast(crash.prog))[0] for _ in range(arguments.runs)]
        # The chains first: they are followed for all entries, whatever part is decoded.
        chains, first = cpu(lambda: with_objects(crash.prog, 1))
        part, decoded = cpu(lambda: with_objects(crash.prog, PART))
    slow = chains + part * number / max(decoded, first)
    wall, used, peak = (statistics.median(column) for column in zip(*runs, strict=True))
    print("| entries | fast walk, CPU s | with drgn objects, CPU s | ratio |")
    print("|---|---|---|---|")
    print(f"| {number} | {min(quick):.2f} | {slow:.1f} | {slow / min(quick):.1f} |\n")
    print("| conntrack --format jsonl | wall s | CPU s | peak MiB |")
    print("|---|---|---|---|")
    print(f"| median of {arguments.runs} | {wall:.1f} | {used:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
