"""Score argument recovery against what a guest's kprobes logged (samples/lab, ``truth-…``).

``python -m tests.truth.score PATH…`` scores dumps, or every vmcore in folders, and prints a table
for each kernel and each source of names. ``--table FILE…`` prints those of rows kept earlier.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from crashkit.crash import open_crash
from crashkit.target import identify
from tests.truth.events import Losses, read_events
from tests.truth.rows import for_each_row
from tests.truth.tally import Row, describe, read_rows, tables, totals, wrong_rows

# What a dump allocates is kept until its process has scored it.
GARBAGE_THRESHOLD = 200_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """One dump to be scored in one way."""

    vmcore: Path
    types: str
    debug_directory: Path | None


def score_dump(task: Task) -> tuple[list[Row], Losses]:
    """Return all rows of a dump, and what its log lacks."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    directory = task.debug_directory
    with open_crash(task.vmcore, types=task.types, debug_directory=directory) as crash:
        log = read_events(crash.prog)
        return list(for_each_row(crash, task.vmcore.parent.name, log)), log.losses


def find_dumps(paths: Iterable[Path]) -> list[Path]:
    """List the dumps among ``paths`` and in the folders there."""
    return [
        dump
        for path in paths
        for dump in (sorted(path.rglob("vmcore")) if path.is_dir() else [path])
    ]


def debug_directory_of(vmcore: Path, directories: Sequence[Path]) -> Path | None:
    """Choose the directory that has the kernel of a dump."""
    release = identify(vmcore).release
    for directory in directories:
        for place in ("usr/lib/debug/boot", "boot", "."):
            if release and (directory / place / f"vmlinux-{release}").exists():
                return directory
    return directories[0] if len(directories) == 1 else None


def score_all(
    tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, tuple[list[Row], Losses] | str]]:
    """Score dumps, each in a process of its own.

    :returns: for each in order its rows and what its log lacks, or why it could not be scored
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for task, future in [(task, pool.submit(score_dump, task)) for task in tasks]:
            problem = future.exception()
            yield task, future.result() if problem is None else repr(problem)


def _tasks(options: argparse.Namespace) -> list[Task]:
    found = []
    for types in options.types.split(","):
        for vmcore in find_dumps(options.paths):
            directory = None
            if types == "dwarf":
                directory = debug_directory_of(vmcore, options.debug_directory)
            found.append(Task(vmcore=vmcore, types=types, debug_directory=directory))
    return found


def _scored(options: argparse.Namespace) -> tuple[list[Row], list[str], list[str]]:
    # Rows, what each log lacks, and what failed.
    rows: list[Row] = []
    logs: dict[Path, str] = {}
    failed: list[str] = []
    for task, found in score_all(_tasks(options), options.jobs):
        if isinstance(found, str):
            failed.append(f"FAILED {task.vmcore}, {task.types}: {found}")
            continue
        scored, losses = found
        rows += scored
        logs[task.vmcore] = f"log of {task.vmcore.parent.name}: {losses}"
        if options.rows:
            with options.rows.open("a") as file:
                file.writelines(json.dumps(dataclasses.asdict(row)) + "\n" for row in scored)
    return rows, list(logs.values()), failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--types", default="btf", help="btf, dwarf or auto; several with commas")
    parser.add_argument(
        "--debug-directory", type=Path, action="append", default=[], help="one for each kernel"
    )
    parser.add_argument("--jobs", type=int, default=1, help="dumps scored at the same time")
    parser.add_argument("--rows", type=Path, help="file to add the rows to")
    parser.add_argument("--table", action="store_true", help="the paths are files of rows")
    parser.add_argument(
        "--blind", action="store_true", help="say how many values are wrong, but not which"
    )
    return parser


def main() -> int:
    """Run the command line; return 1 if a proved value is wrong or a dump cannot be read."""
    options = _parser().parse_args()
    logs: list[str] = []
    failed: list[str] = []
    if options.table:
        rows = list(chain.from_iterable(map(read_rows, options.paths)))
    else:
        rows, logs, failed = _scored(options)
    wrong = wrong_rows(rows)
    sys.stdout.write(f"{tables(rows)}\n\n{totals(rows)}\n")
    sys.stdout.writelines(f"{line}\n" for line in (*logs, *failed))
    if not options.blind:
        sys.stdout.writelines(f"WRONG {describe(row)}\n" for row in wrong)
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main())
