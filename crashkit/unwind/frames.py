"""Frames of a stack: which function, where, and which registers are known there."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field

from crashkit.value import Certainty, Origin, facts


class Segment(enum.Enum):
    """The context a frame ran in."""

    TASK = "task"
    IRQ = "irq"
    SOFTIRQ = "softirq"
    NMI = "nmi"
    EXCEPTION = "exception"
    USER = "user"
    UNKNOWN = "unknown"


@facts
class RegisterValue:
    """A register's 64-bit value in one frame and how it was had."""

    value: int
    origin: Origin
    """``register`` (exception frame or note), ``cfi`` (unwind rule), ``saved-register``
    (a callee's prologue pushed it)."""
    certainty: Certainty
    slot: int | None = None
    """Stack address it was read from; None when it was in a note."""
    saved_by: str | None = None
    """Function whose prologue pushed it."""


@facts
class Frame:
    """One frame, innermost first. ``pc`` of a caller is its return address."""

    index: int
    """crash's frame number. An inlined frame repeats the number of its physical frame, an
    interrupted one that of the entry function that interrupted it."""
    pc: int
    sp: int
    """Stack pointer of this frame at ``pc``."""
    slot: int | None
    """Stack address of this frame's return address in its callee's frame (what crash
    prints in brackets); None for the innermost and for an interrupted frame."""
    cfa: int | None
    """Canonical frame address: sp just before the call that entered the function."""
    function: str | None
    offset: int | None
    """``pc`` minus the start of ``function``."""
    size: int | None
    """Size of ``function`` as the symbol table gives it."""
    module: str | None
    source: str | None = None
    """``file:line`` where debug information has it."""
    inlined: bool = False
    segment: Segment = Segment.UNKNOWN
    interrupted: bool = False
    """``pc`` is the instruction itself (exception, interrupt), not a return address."""
    exception: str | None = None
    """Entry function that interrupted this frame, e.g. ``asm_exc_page_fault``."""
    how: str = "orc"
    """``registers``, ``orc``, ``cfi``, ``call-site scan`` or ``frame pointer``."""
    registers: Mapping[str, RegisterValue] = field(default_factory=dict)
    """Registers known at ``pc``, by full name."""
    pt_regs: int | None = None
    """Address of the exception frame this frame's registers came from, if any."""
