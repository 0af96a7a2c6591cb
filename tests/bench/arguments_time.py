"""Time that arguments take for each frame, cold and warm.

usage: python3 -m tests.bench.arguments_time VMCORE… [--types btf|dwarf] [--debug-directory DIR]

Cold: the crashed stack's arguments, asked for the first time in a process; opening the dump and
walking the stack are not counted. Warm: the same again. All tasks: every stack of the dump, walked
and asked for, in a process of its own. Frames of inlined functions are not counted. A benchmark,
not a test: nothing fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from crashkit.arguments import StackArguments
from crashkit.crash import Crash, open_crash
from crashkit.unwind import Frame


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds, processor time of one process."""

    frames: int
    cold: float
    warm: float
    tasks: int
    all_frames: int
    all_tasks: float


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a dump is opened."""

    vmcore: Path
    types: str
    debug_directory: Path | None


def ask(crash: Crash, frames: Sequence[Frame]) -> int:
    """Recover every argument of a stack; returns how many frames it has."""
    arguments = StackArguments(crash.prog, frames)
    for position in range(len(arguments.frames)):
        arguments.of(position)
    return len(arguments.frames)


def of_crashed_stack(options: Options) -> tuple[int, float, float]:
    """Count the frames of the crashed stack, and time them cold and warm."""
    with _opened(options) as crash:
        frames = crash.crashed_stack.frames
        began = time.process_time()
        count = ask(crash, frames)
        cold = time.process_time() - began
        began = time.process_time()
        ask(crash, frames)
        return count, cold, time.process_time() - began


def of_all_tasks(options: Options) -> tuple[int, int, float]:
    """Count the tasks and frames of a dump, and time walking and asking for all of them."""
    with _opened(options) as crash:
        began = time.process_time()
        tasks = crash.tasks()
        frames = sum(ask(crash, crash.stack_of(task).frames) for task in tasks)
        return len(tasks), frames, time.process_time() - began


def measure(options: Options) -> Times:
    """Measure one dump, in two processes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        frames, cold, warm = pool.submit(of_crashed_stack, options).result()
        tasks, all_frames, all_tasks = pool.submit(of_all_tasks, options).result()
    return Times(
        frames=frames, cold=cold, warm=warm, tasks=tasks, all_frames=all_frames, all_tasks=all_tasks
    )


def _opened(options: Options) -> Crash:
    return open_crash(options.vmcore, types=options.types, debug_directory=options.debug_directory)


def main() -> int:
    """Print a row for each dump."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vmcores", nargs="+", type=Path)
    parser.add_argument("--types", default="btf")
    parser.add_argument("--debug-directory", type=Path)
    options = parser.parse_args()
    sys.stdout.write("| dump | frames | cold, a frame | warm, a frame | all tasks |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for vmcore in options.vmcores:
        one = Options(vmcore=vmcore, types=options.types, debug_directory=options.debug_directory)
        found = measure(one)
        frames = max(found.frames, 1)
        sys.stdout.write(
            f"| {vmcore.parent.name} | {found.frames} | {1000 * found.cold / frames:.1f} ms |"
            f" {1000 * found.warm / frames:.2f} ms |"
            f" {found.all_tasks:.1f} s: {found.tasks} tasks, {found.all_frames} frames |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
