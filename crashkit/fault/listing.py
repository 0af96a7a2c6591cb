"""A function's instructions, with what they read and write in the words of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from drgn import Program

from crashkit.dataflow import (
    Dataflow,
    Unknown,
    analyse_function,
    parameters_of,
    prototype_of,
    split,
)
from crashkit.disasm import Access, Instruction, decode_one, disassemble_known
from crashkit.errors import Unavailable, UsageError
from crashkit.fault.reading import Reader
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.symbols.file_text import text_of_file
from crashkit.unwind import source_places
from crashkit.value import facts

_STACK = ("rsp", "rip")


@facts
class Line:
    """One instruction of a listing."""

    address: int
    offset: int
    """From the start of the function."""
    data: bytes
    text: str
    """In the syntax asked for; a call's target is a plain address."""
    target: str | None
    """Where a jump or call goes: ``symbol+0xoff``, ``through %rax``."""
    comments: tuple[str, ...]
    """C expressions for the memory it accesses, the most plausible first; several are
    alternatives. Inferred: the pointer's type comes from the prototype."""
    source: str | None
    """``file:line``, where it differs from that of the line before."""


@facts
class Listing:
    """A function as it is in the dump."""

    function: SymbolAt
    lines: tuple[Line, ...]
    from_file: bool
    """Some of the bytes are not in the dump and were taken from the debug file."""
    missing: int
    """Bytes of the function that are neither in the dump nor in a file."""


def list_function(
    prog: Program,
    function: SymbolAt,
    *,
    until: int | None = None,
    syntax: str = "att",
    sources: bool = False,
) -> Listing:
    """List a function from the dump's bytes.

    :param until: the last instruction to list; one that is not the start of an
        instruction of the function is an error
    :param syntax: ``att`` or ``intel``
    :param sources: look up source lines (debug information)
    :raises Unavailable: none of its bytes is in the dump
    :raises UsageError: ``until`` is no instruction of it
    """
    found = disassemble_known(prog, function.address, function.size, name_at=partial(_name, prog))
    if until is not None:
        found = _up_to(found, until)
    comments = _comments(prog, function, found)
    place: str | None = None
    lines = []
    for instruction in found:
        here = _source(prog, instruction.address) if sources else None
        lines.append(
            Line(
                address=instruction.address,
                offset=instruction.address - function.address,
                data=instruction.data,
                text=_text(prog, instruction, syntax),
                target=_target(prog, instruction),
                comments=comments.get(instruction.address, ()),
                source=here if here != place else None,
            )
        )
        place = here
    known = sum(instruction.size for instruction in found)
    size = (found[-1].end - function.address) if until is not None else function.size
    return Listing(
        function=function,
        lines=tuple(lines),
        from_file=text_of_file(prog, function.address, function.size) is not None
        and not _all_in_dump(prog, function),
        missing=max(size - known, 0),
    )


def _name(prog: Program, address: int) -> str | None:
    symbol = symbol_at(prog, address)
    return symbol.name if symbol is not None and symbol.address == address else None


def _all_in_dump(prog: Program, function: SymbolAt) -> bool:
    try:
        prog.read(function.address, function.size)
    except LookupError:
        return False
    return True


def _up_to(found: Sequence[Instruction], until: int) -> list[Instruction]:
    kept = [instruction for instruction in found if instruction.address <= until]
    if not kept or kept[-1].address != until:
        raise UsageError(f"no instruction of the function starts at {until:016x}")
    return kept


def _text(prog: Program, instruction: Instruction, syntax: str) -> str:
    if syntax == "att":
        return instruction.text
    return decode_one(prog, instruction.address, syntax=syntax).text


def _target(prog: Program, instruction: Instruction) -> str | None:
    if instruction.target is None or instruction.via is not None:
        return f"through %{instruction.via}" if instruction.via else None
    symbol = symbol_at(prog, instruction.target)
    if symbol is None:
        return None
    distance = instruction.target - symbol.address
    return symbol.name + (f"+{distance:#x}" if distance else "")


def _source(prog: Program, address: int) -> str | None:
    places = source_places(prog, address)
    return places[0][1] if places else None


def _comments(
    prog: Program, function: SymbolAt, found: Sequence[Instruction]
) -> Mapping[int, tuple[str, ...]]:
    # Nothing known of the code before an access, or of its types: no comment.
    try:
        flow = analyse_function(prog, function)
    except Unavailable:
        return {}
    try:
        parameters = parameters_of(prototype_of(prog, function))
    except Unavailable:
        parameters = {}
    reader = Reader(prog, parameters)
    known: dict[int, tuple[str, ...]] = {}
    for instruction in found:
        for access in instruction.accesses[:1]:
            texts = _expressions(reader, flow, instruction, access)
            if texts:
                known[instruction.address] = texts
    return known


def _expressions(
    reader: Reader, flow: Dataflow, instruction: Instruction, access: Access
) -> tuple[str, ...]:
    memory = access.memory
    if memory.base is None or memory.base in _STACK or memory.index or memory.segment:
        return ()
    try:
        root, addend = split(flow.state_before(instruction.address).register(memory.base))
        if isinstance(root, Unknown):
            return ()
        size = access.size if access.kind != "address" else 1
        offset = addend + memory.displacement
        readings = reader.through(root, offset, size, Unknown())
    except Unavailable:
        return ()
    mark = "&" if access.kind == "address" else ""
    return tuple(dict.fromkeys(f"{mark}{reading.text}" for reading in readings))
