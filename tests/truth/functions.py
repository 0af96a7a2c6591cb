"""Collect what to probe: the functions on every stack of dumps, as lines for kprobe_events.

``python -m tests.truth.functions LIST VMCORE…`` adds to LIST, which ``samples/lab --probes`` takes.
The places are exact, and good for one build of the kernel. With ``--names`` they are names, good
for any, but of several functions of one name the kernel probes one or none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from crashkit.crash import Crash, open_crash
from crashkit.symbols.lookup import find_symbol
from tests.truth.stacks import for_each_stack, function_of


def places_in(crash: Crash, *, names: bool = False) -> set[str]:
    """Name the functions on the stacks as ``_text+0xOFFSET`` or ``module:function``.

    :param names: ``function`` instead of ``_text+0xOFFSET``
    """
    text = find_symbol(crash.prog, "_text")
    found = set()
    for stack in for_each_stack(crash):
        for frame in stack.frames:
            function = function_of(crash, frame)
            if function is None or text is None:
                continue
            if function.module:
                found.add(f"{function.module}:{function.name}")
            elif names:
                found.add(function.name)
            else:
                found.add(f"_text+{function.address - text.address:#x}")
    return found


def add_functions(path: Path, places: set[str]) -> int:
    """Add ``places`` to the list at ``path``; return how many it then has.

    Names that are there give way to exact places.
    """
    known = {line.split()[1] for line in path.read_text().splitlines()} if path.exists() else set()
    if any(map(_is_exact, places)):
        known = set(filter(_is_exact, known))
    lines = [f"f_{n} {place}\n" for n, place in enumerate(sorted(known | places))]
    path.write_text("".join(lines))
    return len(lines)


def _is_exact(place: str) -> bool:
    return place.startswith("_text+") or ":" in place


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list", type=Path)
    parser.add_argument("vmcores", nargs="+", type=Path)
    parser.add_argument("--names", action="store_true", help="places by name")
    options = parser.parse_args()
    for vmcore in options.vmcores:
        with open_crash(vmcore, types="btf") as crash:
            count = add_functions(options.list, places_in(crash, names=options.names))
            sys.stdout.write(f"{count} functions after {vmcore}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
