"""What a bad pointer's value says by itself."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from crashkit.fault.model import Diagnosis
from crashkit.value import facts

PAGE = 4096
MAX_ERRNO = 4095
"""include/linux/err.h."""
_U64 = 1 << 64
_WORD = 8
_FEW_LETTERS = 5
_DELTA = 0xDEAD_0000_0000_0000
"""CONFIG_ILLEGAL_POINTER_VALUE of x86-64 (arch/x86/Kconfig)."""

LIST_POISON = {
    _DELTA + 0x100: "LIST_POISON1",
    _DELTA + 0x122: "LIST_POISON2",
    # Values of older kernels:
    _DELTA + 0x200: "LIST_POISON2",
    _DELTA + 0x00100100: "LIST_POISON1",
    _DELTA + 0x00200200: "LIST_POISON2",
}
"""Links of a removed list entry (include/linux/poison.h)."""

POISON_BYTES = {
    0x6B: "POISON_FREE, a freed slab object",
    0x5A: "POISON_INUSE, slab memory never written",
    0xA5: "POISON_END, the last byte of a slab object",
    0xAA: "PAGE_POISON, a freed page",
    0xBB: "SLUB_RED_INACTIVE, the red zone of a freed object",
    0xCC: "SLUB_RED_ACTIVE or POISON_FREE_INITMEM",
    0x5B: "JBD_POISON_FREE",
    0x5C: "JBD2_POISON_FREE",
    0xA7: "POOL_POISON_FREED",
    0xA9: "POOL_POISON_ALLOCATED",
    0x22: "MUTEX_DEBUG_FREE",
    0xBD: "KEY_DESTROY",
}
"""Bytes that fill memory (include/linux/poison.h)."""

POISON_WORDS = {
    _DELTA + 0x300: "TIMER_ENTRY_STATIC",
    _DELTA + 0x801: "NET_PTR_POISON",
    0x09F911029D74E35B: "RED_INACTIVE",
    0xD84156C5635688C0: "RED_ACTIVE",
    0x74737461: "TIMER_ENTRY_STATIC",
    0xDEAD4EAD: "SPINLOCK_MAGIC",
    0xDEADBEEF: "NEIGHBOR_DEAD or ATM_POISON",
    0xDEAD57AC: "NETFILTER_LINK_POISON",
}
"""Whole values (include/linux/poison.h, include/linux/spinlock_types.h)."""


@facts
class BadValue:
    """A pointer that was followed."""

    name: str
    """How it is called in the statement: an expression or a register."""
    value: int
    """Unsigned 64 bit."""
    addend: int = 0
    """Bytes that were added to it before it was used."""
    faulted_at: int | None = None
    """The CPU's fault address; None for a general protection fault."""
    five_level: bool | None = None
    """Five-level paging was on; None: not known."""
    made: str | None = None
    """How a small negative number was made: ``error``, ``container``; None: not known."""


def diagnose(bad: BadValue) -> Diagnosis:
    """Say what the value is; the first that applies."""
    for test in (_null, _list_poison, _poison, _near_poison, _error, _ascii, _outside):
        found = test(bad)
        if found is not None:
            return found
    return Diagnosis(kind="other", statement=f"{bad.name} was {bad.value:#x}")


def _null(bad: BadValue) -> Diagnosis | None:
    if bad.value == 0 and bad.addend < 0:
        return Diagnosis(
            kind="container-of-null",
            statement=f"{bad.name} was NULL, taken as a member {-bad.addend} bytes into its "
            "container",
        )
    before = _U64 - (bad.faulted_at or 0)
    if bad.value == 0 and 0 < before <= PAGE:
        return Diagnosis(
            kind="container-of-null",
            statement=f"{bad.name} was NULL, taken as a member of its container: the access was "
            f"{before:#x} bytes before it",
        )
    if bad.value == 0:
        return Diagnosis(kind="null", statement=f"{bad.name} was NULL")
    if bad.value < PAGE:
        return Diagnosis(
            kind="null", statement=f"{bad.name} was {bad.value:#x}: an offset from NULL"
        )
    return None


_LINKS = (0, _WORD)
"""Where the first and the second word of a node at NULL are: next, prev; pprev."""


def _error(bad: BadValue) -> Diagnosis | None:
    number = _U64 - bad.value
    if not 0 < number <= MAX_ERRNO:
        return None
    name = errno.errorcode.get(number)
    error = f"the error -{number}" + (f" ({name})" if name else "")
    aligned = number % _WORD == 0
    if bad.made == "container" or (name is None and aligned and bad.made is None):
        return Diagnosis(
            kind="container-of-null",
            statement=f"{bad.name} was -{number:#x}: NULL taken as a member {number} bytes into "
            "its container",
        )
    if bad.made == "error" or not aligned:
        return Diagnosis(kind="err-ptr", statement=f"{bad.name} was {error}")
    if bad.faulted_at in _LINKS:
        # A list's entry whose node is read again: an error's member lies there by chance only.
        return Diagnosis(
            kind="container-of-null",
            statement=f"{bad.name} was -{number:#x}: NULL taken as a member {number} bytes into "
            f"its container (or {error})",
        )
    return Diagnosis(
        kind="err-ptr",
        statement=f"{bad.name} was {error}, or NULL taken as a member {number:#x} bytes into its "
        "container",
    )


def _list_poison(bad: BadValue) -> Diagnosis | None:
    name = LIST_POISON.get(bad.value)
    if name is None:
        return None
    return Diagnosis(
        kind="list-poison", statement=f"{bad.name} was {name}: an entry removed from its list"
    )


def _poison(bad: BadValue) -> Diagnosis | None:
    name = POISON_WORDS.get(bad.value)
    if name is None:
        data = bad.value.to_bytes(8, "little")
        filler = data[0]
        # The last byte of a poisoned object is POISON_END.
        if set(data[:7]) == {filler} and data[7] in (filler, 0xA5):
            name = POISON_BYTES.get(filler)
    if name is None:
        return None
    return Diagnosis(kind="poison", statement=f"{bad.name} was {bad.value:#x}: {name}")


def _near_poison(bad: BadValue) -> Diagnosis | None:
    # A member of what a poisoned pointer points to, or its container: list nodes lie at
    # multiples of a word, so LIST_POISON1 and LIST_POISON2 are told apart.
    for kind, base, name in _bases():
        distance = bad.value - base
        if distance == 0 or abs(distance) >= PAGE or distance % _WORD:
            continue
        side = "above" if distance > 0 else "below"
        return Diagnosis(
            kind=kind,
            statement=f"{bad.name} was {bad.value:#x}: {abs(distance):#x} {side} {name}",
            evidence=("~ a member of what the poisoned pointer pointed to, or its container",),
        )
    return None


def _bases() -> Iterator[tuple[str, int, str]]:
    yield "list-poison", _DELTA + 0x100, "LIST_POISON1"
    yield "list-poison", _DELTA + 0x122, "LIST_POISON2"
    for filler in _NEAR:
        yield "poison", int.from_bytes(bytes([filler] * _WORD), "little"), POISON_BYTES[filler]


_NEAR = (0x6B, 0x5A, 0xAA, 0xBB, 0xCC)
"""Bytes of the allocators, as no other value has six of them in a row."""


def _ascii(bad: BadValue) -> Diagnosis | None:
    data = bad.value.to_bytes(8, "little")
    if not all(0x20 <= byte < 0x7F for byte in data):
        return None
    return Diagnosis(kind="ascii", statement=f"{bad.name} was text: {_quoted(data)}")


def _outside(bad: BadValue) -> Diagnosis | None:
    if is_noncanonical(bad.value, five_level=bad.five_level, no_address=bad.faulted_at is None):
        return Diagnosis(
            kind="non-canonical",
            statement=f"{bad.name} was {bad.value:#x}: no address at all",
            evidence=(*_by_levels(bad.value), *_looks_like(bad.value)),
        )
    if bad.value < 1 << 56:
        return Diagnosis(
            kind="user-pointer",
            statement=f"{bad.name} was {bad.value:#x}: a user-space address",
            evidence=_looks_like(bad.value),
        )
    return None


def _by_levels(value: int) -> tuple[str, ...]:
    if not _fits(value, 57) or value < 1 << 63:
        return ()
    return ("page tables of four levels refuse it, of five levels would not",)


def _looks_like(value: int) -> tuple[str, ...]:
    # The end of a string: text, then only zeros.
    data = value.to_bytes(_WORD, "little").rstrip(b"\0")
    if len(data) < _FEW_LETTERS or not all(0x20 <= byte < 0x7F for byte in data):
        return ()
    return (f"~ its bytes are the end of a text: {_quoted(data)}",)


def _quoted(data: bytes) -> str:
    return repr(data.decode("ascii").encode("unicode_escape").decode("ascii"))


def is_noncanonical(address: int, *, five_level: bool | None, no_address: bool) -> bool:
    """Whether the CPU refuses the address (Intel SDM volume 1, 3.3.7.1).

    :param five_level: five-level paging was on; where that is not known, an address
        that only four-level paging refuses counts if ``no_address``
    :param no_address: the CPU reported no fault address, as for a refused one
    """
    if not _fits(address, 57):
        return True
    refused_by_four = not _fits(address, 48)
    return refused_by_four and (no_address if five_level is None else not five_level)


def _fits(address: int, bits: int) -> bool:
    top = address >> (bits - 1)
    return top in (0, (1 << (65 - bits)) - 1)
