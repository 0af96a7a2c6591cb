"""Entries of the kernel's bug tables: which BUG() or WARN() stands at an address."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from drgn import Object, Program, sizeof

from crashkit.decode.fields import has_member, naming, text_at
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of
from crashkit.memory import read_bytes
from crashkit.symbols import find_symbol, module_at
from crashkit.value import facts

_ENTRY = "struct bug_entry"
_MAX_TABLE = 1 << 24
_U64 = (1 << 64) - 1

# include/asm-generic/bug.h: BUGFLAG_*; the taint flag of a WARN() is above them.
_WARNING, _ONCE, _DONE, _NO_CUT_HERE = 1, 2, 4, 8


@facts
class BugEntry:
    """One ``struct bug_entry``."""

    address: int
    """Of the instruction."""
    entry: int
    """Of the ``struct bug_entry``."""
    file: str | None
    """None: the kernel has no CONFIG_DEBUG_BUGVERBOSE."""
    line: int | None
    warning: bool
    """WARN(); else BUG()."""
    once: bool
    done: bool
    """A WARN_ONCE() that has warned."""
    with_message: bool
    """A WARN() with a message of its own, printed before its line."""
    format: str | None
    """The message's format, where the entry has it (v6.19 and later)."""


def find_bug(prog: Program, address: int) -> BugEntry | None:
    """Find the entry for an instruction; None: it is no BUG() or WARN().

    :raises Unavailable: the table or its type is not in the dump
    """
    for start, size in _tables(prog, address):
        found = _search(prog, start, size, address)
        if found is not None:
            with naming("struct bug_entry"):
                return _decode(Object(prog, f"{_ENTRY} *", found), address)
    return None


def _tables(prog: Program, address: int) -> Iterator[tuple[int, int]]:
    module = module_at(prog, address)
    with naming("the bug table"):
        if module is not None:
            owner = Object(prog, "struct module *", module.object_address)
            size = sizeof(prog.type(_ENTRY)) * int(owner.num_bugs.value_())
            yield int(owner.bug_table.value_()), size
            return
    start, stop = (find_symbol(prog, f"__{edge}___bug_table") for edge in ("start", "stop"))
    if start is None or stop is None:
        raise Unavailable("the bug table", Reason.NO_DEBUGINFO, "no __start___bug_table")
    yield start.address, stop.address - start.address


def _search(prog: Program, start: int, size: int, address: int) -> int | None:
    if not size:
        return None
    if not 0 < size <= _MAX_TABLE:
        raise Unavailable("the bug table", Reason.CORRUPTED, f"{size} bytes")
    with naming(_ENTRY):
        type_ = prog.type(_ENTRY)
        step = sizeof(type_)
        relative = has_member(Object(prog, type_, address=0), "bug_addr_disp")
        at = offset_of(type_, "bug_addr_disp" if relative else "bug_addr")
    data = read_bytes(prog, start, size - size % step, "the bug table")
    # With CONFIG_GENERIC_BUG_RELATIVE_POINTERS the distance from the member itself
    # (include/asm-generic/bug.h).
    layout = struct.Struct("<i" if relative else "<Q")
    for position in range(0, len(data), step):
        (value,) = layout.unpack_from(data, position + at)
        if (start + position + at + value if relative else value) & _U64 == address:
            return start + position
    return None


def _decode(entry: Object, address: int) -> BugEntry:
    flags = int(entry.flags.value_())
    verbose = has_member(entry, "line")
    return BugEntry(
        address=address,
        entry=int(entry.value_()),
        file=_text(entry, "file") if verbose else None,
        line=int(entry.line.value_()) if verbose else None,
        warning=bool(flags & _WARNING),
        once=bool(flags & _ONCE),
        done=bool(flags & _DONE),
        with_message=bool(flags & _NO_CUT_HERE),
        format=_text(entry, "format"),
    )


def _text(entry: Object, name: str) -> str | None:
    if has_member(entry, f"{name}_disp"):
        member = entry.member_(f"{name}_disp")
        place = int(member.address_of_().value_()) + int(member.value_())
    elif has_member(entry, name):
        place = int(entry.member_(name).value_())
    else:
        return None
    return text_at(entry.prog_, place & _U64, 256) or None
