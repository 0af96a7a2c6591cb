"""Which ``ud2`` ends a path: that of a BUG(), not that of a WARN().

``struct bug_entry`` (include/asm-generic/bug.h) has the instruction's place, as a distance from
its own field or as an address, and flags. Behind a BUG() nothing runs; the compiler knows, and
what follows it in memory is reached from elsewhere.
"""

from __future__ import annotations

from drgn import FaultError, Program, offsetof, sizeof

from crashkit.dataflow.edges import TableOf, place_of_table
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols import module_at

_CACHE_KEY = "crashkit.bugs"
_MOST_ENTRIES = 1 << 18
_WARNING = 1  # BUGFLAG_WARNING, include/asm-generic/bug.h
_U64 = (1 << 64) - 1
_SIGN = 1 << 31
_TABLE = TableOf(
    "struct bug_entry",
    "__start___bug_table",
    "__stop___bug_table",
    ("bug_table", "num_bugs"),
)


def goes_on(prog: Program, address: int) -> bool:
    """Whether execution may go on behind the ``ud2`` at ``address``.

    It does unless the kernel's table has it as a BUG(): that only ever adds a path.
    """
    return address not in _bugs(prog, address)


def _bugs(prog: Program, address: int) -> frozenset[int]:
    module = module_at(prog, address)
    place = module.object_address if module else None
    key = (_CACHE_KEY, place)
    if key not in prog.cache:
        try:
            prog.cache[key] = _read(prog, *place_of_table(prog, _TABLE, place))
        except (FaultError, LookupError, AttributeError, Unavailable):
            prog.cache[key] = frozenset()  # no types, or not in the dump
    found: frozenset[int] = prog.cache[key]
    return found


def _read(prog: Program, start: int, size: int) -> frozenset[int]:
    type_ = prog.type(_TABLE.type)
    step = sizeof(type_)
    if not 0 <= size <= _MOST_ENTRIES * step:
        raise Unavailable(_TABLE.start, Reason.CORRUPTED, f"a table of {size} bytes")
    data = read_bytes(prog, start, size, _TABLE.start) if size else b""
    # A distance from its own field, or the address as it is.
    relative = type_.has_member("bug_addr_disp")
    at = int(offsetof(type_, "bug_addr_disp" if relative else "bug_addr"))
    at_flags = int(offsetof(type_, "flags"))
    bugs: set[int] = set()
    warnings: set[int] = set()
    for n in range(0, size - step + 1, step):
        address = int.from_bytes(data[n + at : n + at + (4 if relative else 8)], "little")
        if relative:
            address = (start + n + at + (address ^ _SIGN) - _SIGN) & _U64
        flags = int.from_bytes(data[n + at_flags : n + at_flags + 2], "little")
        (warnings if flags & _WARNING else bugs).add(address)
    return frozenset(bugs - warnings)
