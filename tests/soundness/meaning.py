"""What a term means in one execution: its value, from the entry state and what was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crashkit.dataflow import (
    Const,
    Defined,
    Entry,
    FrameAddress,
    Load,
    Masked,
    Merged,
    Part,
    PerCpu,
    Result,
    Sum,
    Term,
)

_U64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass
class Execution:
    """What has happened since a function was entered."""

    entry: Mapping[str, int]
    cfa: int
    loads: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Address of an instruction to where its latest execution read, and what."""
    results: dict[int, int] = field(default_factory=dict)
    """Address of a call to what it last returned."""
    after: dict[int, Mapping[str, int]] = field(default_factory=dict)
    """Address of an instruction to the registers after its latest execution."""
    entered: dict[int, Mapping[str | int, int]] = field(default_factory=dict)
    """Address of an instruction to what registers and slots held when it was last reached."""


class DisagreementError(Exception):
    """A term that is wrong of itself: it names another place than was read."""


def value_of(term: Term, execution: Execution) -> int | None:
    """Evaluate a term; None for one that claims nothing.

    :raises DisagreementError: a load's base and offset are not where the instruction read
    """
    match term:
        case Const(value):
            return value
        case Entry(register):
            return execution.entry[register]
        case FrameAddress(offset):
            return (execution.cfa + offset) & _U64
        case Load() | PerCpu():
            return _loaded(term, execution)
        case Result(at):
            return execution.results[at]
        case Defined(at, register):
            return execution.after[at][register]
        case Merged(at, place):
            return execution.entered[at].get(place)  # None: a slot given up since
        case Sum() | Masked() | Part():
            inner = value_of(term.base, execution)
            return None if inner is None else _made(term, inner)
    return None


def _made(term: Sum | Masked | Part, value: int) -> int:
    if isinstance(term, Sum):
        return (value + term.addend) & _U64
    if isinstance(term, Masked):
        return value & term.mask
    return extend(value, term.size, term.signed)


def extend(value: int, size: int, signed: bool) -> int:
    """The low ``size`` bytes, extended to 64 bits."""
    low = (value & _U64).to_bytes(8, "little")[:size]
    return int.from_bytes(low, "little", signed=signed) & _U64


def _loaded(term: Load | PerCpu, execution: Execution) -> int:
    if term.at not in execution.loads:
        raise DisagreementError(f"{term} names an instruction that read nothing")
    address, data = execution.loads[term.at]
    base = value_of(term.base, execution)
    if isinstance(term, Load) and base is not None and (base + term.offset) & _U64 != address:
        raise DisagreementError(f"{term} is read from {address:#x}")
    return extend(int.from_bytes(data, "little"), term.size, term.signed)
