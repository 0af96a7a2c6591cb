"""Score argument recovery against what a guest's kprobes logged (samples/lab, ``truth-…``).

``python -m tests.truth.score VMCORE… [--types dwarf --debug-directory D] [--rows FILE]`` scores
dumps and adds their rows to FILE; ``--table FILE…`` prints the tables of rows from files.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from drgn import Type, TypeKind

from crashkit.arguments import Argument, StackArguments
from crashkit.crash import Crash, open_crash
from crashkit.dataflow.prototype import prototype_of
from crashkit.errors import Unavailable
from crashkit.layout import COMPOUND, size_of, strip
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols.lookup import SymbolAt
from crashkit.unwind import Frame
from crashkit.value import Certainty
from tests.truth.comparators import DrgnReader, scan_linearly
from tests.truth.events import Event, EventLog, live_activations, read_events
from tests.truth.stacks import TaskStack, for_each_stack, function_of
from tests.truth.tally import Row, describe, read_rows, table, wrong_rows

# The function tracer's call is over at a return address beyond these bytes.
ENTRY_BYTES = 9
STACK_GAP = 0x4000
# On these a probe's own handler was interrupted, and entries since then are not logged.
IN_PROBE = ("kprobe_ftrace_handler", "kprobe_dispatcher", "kprobe_int3_handler")


def for_each_row(crash: Crash, name: str) -> Iterator[Row]:
    """Score every frame of every stack of a dump."""
    log = read_events(crash.prog)
    kernel = crash.target.release or "?"
    dwarf = crash.types in ("dwarf", "hybrid")
    for stack in for_each_stack(crash):
        reader = DrgnReader(crash, stack) if dwarf else None
        truths = _truths(crash, stack, log)
        answers = StackArguments(crash.prog, stack.frames)
        for position, frame in enumerate(stack.frames):
            function = function_of(crash, frame)
            if function is None or frame.offset is None:
                continue
            base = Row(
                dump=name,
                kernel=kernel,
                comm=stack.comm,
                running=stack.running,
                interrupted=frame.interrupted,
                function=frame.function or "?",
                offset=frame.offset,
                parameter="",
                pointer=False,
                tier="",
                value=None,
                truth=None,
            )
            event = truths.get(position)
            yield from _parameters(crash, stack, position, function, answers, event, reader, base)
            if event is not None:
                yield from _registers(answers, position, event, base)


def _truths(crash: Crash, stack: TaskStack, log: EventLog) -> dict[int, Event]:
    found: dict[int, Event] = {}
    if any(frame.function in IN_PROBE for frame in stack.frames):
        return found
    for positions in _joined(stack.frames):
        places = {p: (stack.frames[p].cfa or 0) - 8 for p in positions}
        live = live_activations(log.events, min(places.values()), max(places.values()))
        for position, sp in places.items():
            function, event = function_of(crash, stack.frames[position]), live.get(sp)
            if function is None or event is None or event.function != function.address:
                continue
            is_past_entry = (stack.frames[position].offset or 0) > ENTRY_BYTES
            if (
                is_past_entry
                and function.address not in log.missed
                and event.time >= log.complete_since
            ):
                found[position] = event
    return found


def _joined(frames: Sequence[Frame]) -> Iterator[list[int]]:
    # Frames on one stack: an interrupt's or exception's stack lies somewhere else.
    group: list[int] = []
    last = 0
    for position, frame in enumerate(frames):
        if frame.cfa is None:
            continue
        if group and not 0 <= frame.cfa - last < STACK_GAP:
            yield group
            group = []
        group.append(position)
        last = frame.cfa
    if group:
        yield group


def _parameters(
    crash: Crash,
    stack: TaskStack,
    position: int,
    function: SymbolAt,
    answers: StackArguments,
    event: Event | None,
    reader: DrgnReader | None,
    base: Row,
) -> Iterator[Row]:
    frame = stack.frames[position]
    caller = stack.frames[position + 1] if position + 1 < len(stack.frames) else None
    try:
        prototype = prototype_of(crash.prog, function)
    except Unavailable:
        return
    found, missing = answers.of(position)
    tiers: dict[str, Argument | str] = {m.name: m.reason.value for m in missing}
    tiers |= {a.name: a for a in found}
    for number, (type_, place) in enumerate(_places(prototype)):
        name = prototype.parameters[number].name or f"argument {number}"
        mask = (1 << 8 * (size_of(type_) or 8)) - 1
        answer = tiers.get(name, "not answered")
        value = answer.value if isinstance(answer, Argument) else None
        linear = scan_linearly(crash.prog, frame, caller, place) if place else None
        yield dataclasses.replace(
            base,
            parameter=name,
            pointer=strip(type_).kind is TypeKind.POINTER,
            tier=answer if isinstance(answer, str) else answer.certainty.value,
            value=value,
            truth=event.register(place) & mask if event and place else None,
            how=answer.how if isinstance(answer, Argument) else "",
            drgn=reader.value(frame, name) if reader else None,
            linear=None if linear is None else linear & mask,
        )


def _places(prototype: Type) -> Iterator[tuple[Type, str | None]]:
    """Yield each parameter's type and register (psABI 3.2.3); None: elsewhere, or in two."""
    result = strip(prototype.type)
    used = int(result.kind in COMPOUND and (size_of(result) or 0) > 16)
    for parameter in prototype.parameters:
        bare = strip(parameter.type)
        size = 8 if bare.kind is TypeKind.POINTER else size_of(bare) or 0
        if bare.kind is TypeKind.FLOAT or size > 16 or size == 0:
            yield parameter.type, None
            continue
        needed = 1 if size <= 8 else 2
        fits = used + needed <= len(ARGUMENT_REGISTERS)
        yield parameter.type, ARGUMENT_REGISTERS[used] if fits and needed == 1 else None
        used += needed if fits else 0


def _registers(answers: StackArguments, position: int, event: Event, base: Row) -> Iterator[Row]:
    for register in ARGUMENT_REGISTERS:
        row = dataclasses.replace(base, parameter=f"%{register}", truth=event.register(register))
        try:
            answer = answers.register_at_entry(position, register)
        except Unavailable as missing:
            yield dataclasses.replace(row, tier=missing.reason.value)
            continue
        tier = Certainty.PROVED if answer.proved else Certainty.INFERRED
        yield dataclasses.replace(row, tier=tier.value, value=answer.value, how=answer.how)


def main() -> int:
    """Run the command line; return 1 if a proved value is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--types", default="btf", choices=("auto", "btf", "dwarf"))
    parser.add_argument("--debug-directory", type=Path)
    parser.add_argument("--rows", type=Path, help="file to add the rows to")
    parser.add_argument("--table", action="store_true", help="the paths are files of rows")
    options = parser.parse_args()
    rows: list[Row] = []
    for path in options.paths:
        if options.table:
            rows += read_rows(path)
            continue
        directory = options.debug_directory
        with open_crash(path, types=options.types, debug_directory=directory) as crash:
            rows += for_each_row(crash, path.parent.name)
    if options.rows:
        with options.rows.open("a") as file:
            file.writelines(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)
    sys.stdout.write(table(rows) + "\n")
    wrong = wrong_rows(rows)
    for row in wrong:
        sys.stdout.write(f"WRONG {describe(row)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
