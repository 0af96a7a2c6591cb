"""Count how much truth dumps hold, without asking what crashkit recovers.

``python -m tests.truth.census PATH…`` takes dumps, or folders of them.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from drgn import TypeKind

from crashkit.crash import Crash, open_crash
from crashkit.dataflow.prototype import prototype_of
from crashkit.errors import Unavailable
from crashkit.layout import strip
from tests.truth.events import read_events
from tests.truth.score import find_dumps
from tests.truth.stacks import for_each_stack, function_of
from tests.truth.truths import places_of, truths_of

COLUMNS = (
    "kernel", "dumps", "functions", "values", "sites", "pointers", "interrupted", "on the stack",
)  # fmt: skip
Site = tuple[str, str, int, int]


class Census:
    """Counts of all dumps so far."""

    def __init__(self) -> None:
        self.dumps: Counter[str] = Counter()
        self.values: Counter[str] = Counter()
        self.functions: set[tuple[str, str]] = set()
        self.sites: set[Site] = set()
        self.pointers: set[Site] = set()
        self.interrupted: set[Site] = set()
        self.on_stack: set[Site] = set()

    def add(self, crash: Crash) -> None:
        """Count the parameters of a dump's frames whose value was logged."""
        kernel = crash.target.release or "?"
        self.dumps[kernel] += 1
        log = read_events(crash.prog)
        for stack in for_each_stack(crash):
            for position, event in truths_of(crash, stack, log).items():
                frame = stack.frames[position]
                function = function_of(crash, frame)
                if function is None:
                    continue
                self.functions.add((kernel, function.name))
                try:
                    prototype = prototype_of(crash.prog, function)
                except Unavailable:
                    continue
                for number, place in enumerate(places_of(prototype)):
                    if place.passed(event) is None:
                        continue
                    site = (kernel, frame.function or "?", frame.offset or 0, number)
                    self.values[kernel] += 1
                    self.sites.add(site)
                    if strip(place.type).kind is TypeKind.POINTER:
                        self.pointers.add(site)
                    if frame.interrupted:
                        self.interrupted.add(site)
                    if place.word is not None:
                        self.on_stack.add(site)

    def __str__(self) -> str:
        lines = [
            f"| {' | '.join(COLUMNS)} |",
            "|" + "---|" * len(COLUMNS),
        ]
        for kernel in sorted(self.dumps):
            sets = (self.sites, self.pointers, self.interrupted, self.on_stack)
            counts = " | ".join(str(sum(site[0] == kernel for site in one)) for one in sets)
            functions = sum(name[0] == kernel for name in self.functions)
            lines.append(
                f"| {kernel} | {self.dumps[kernel]} | {functions} |"
                f" {self.values[kernel]} | {counts} |"
            )
        return "\n".join(lines)


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    census = Census()
    for vmcore in find_dumps(parser.parse_args().paths):
        with open_crash(vmcore, types="btf") as crash:
            census.add(crash)
    sys.stdout.write(f"{census}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
