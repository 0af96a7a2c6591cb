"""What is said of a fault: the ``fault`` object of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from crashkit.arguments import Holder
from crashkit.errors import Reason
from crashkit.value import Certainty, Origin, facts


@facts
class Diagnosis:
    """What the bad value is."""

    kind: str
    """``null``, ``err-ptr``, ``container-of-null``, ``poison``, ``list-poison``,
    ``freed-object``, ``non-canonical``, ``user-pointer``, ``stack-guard``, ``unmapped-module``,
    ``one-bit-off``, ``ascii`` or ``other``."""
    statement: str
    """One sentence; text from memory in it is escaped."""
    evidence: tuple[str, ...] = ()
    """Sentences that say what it rests on; an inference begins with ``~``."""
    details: Mapping[str, int | str | None] = field(default_factory=dict)
    """The same for programs: addresses, names."""


@facts
class Link:
    """One value on the way to the bad one, outermost first."""

    expression: str
    """C expression in the function's words: ``ct->ct_net``."""
    ctype: str | None
    value: int | None
    """At the fault, unsigned 64 bit."""
    origin: Origin | None
    """``register`` and ``memory`` (a stack slot) give the value at the fault; ``memory``
    with ``inferred`` is what the dump holds now."""
    certainty: Certainty
    register: str | None = None
    """Register that held it at the fault."""
    identity: str | None = None
    """What the value points at."""
    address: int | None = None
    """Where in memory it was read from."""
    now: int | None = None
    """What that memory holds in the dump."""
    now_identity: str | None = None
    now_certainty: Certainty | None = None
    """Of ``now``: inferred where the pointer to that memory was itself only read again."""
    defined_at: int | None = None
    """Address of the instruction that read it."""
    absent: Mapping[str, Reason] = field(default_factory=dict)

    @property
    def disagrees(self) -> bool | None:
        """Whether memory was changed between the fault and the dump.

        None when the value at the fault or the memory is not known.
        """
        if self.value is None or self.now is None or self.certainty is Certainty.INFERRED:
            return None
        return self.value != self.now


@facts
class Step:
    """An instruction that computed a part of the expression."""

    address: int | None
    offset: int | None
    """From the start of the function."""
    instruction: str | None
    """AT&T text; ``(%rdi on entry)`` for a parameter that no instruction copied first."""
    expression: str | None
    value: int | None = None
    """At the fault."""
    now: int | None = None
    """What the memory it was read from holds in the dump."""
    trapping: bool = False


@facts
class Alternative:
    """One definition of a value that several ways through the code may have made."""

    expression: str | None
    """None where its type is not known."""
    offset: int | None
    """Of the instruction that made it, from the start of the function."""
    address: int | None = None
    """Where it was read from."""
    now: int | None = None
    """What that memory holds in the dump."""


@facts
class OriginStep:
    """What a caller passed: the value in the words of the function that made the call."""

    frame: int
    """The caller's frame number."""
    function: str
    parameter: str
    """What the callee calls it: its parameter, or the register it came in."""
    expression: str | None
    """None where the caller's types do not tell."""
    ctype: str | None
    value: int | None
    certainty: Certainty
    address: int | None = None
    """Where the caller read it from."""
    now: int | None = None
    """What that memory holds in the dump."""
    identity: str | None = None
    one_of: tuple[str, ...] = ()
    """Its origins, where ways through the caller differ."""
    through: tuple[str, ...] = ()
    """Functions that left no frame: the first was called, each jumped to the next, and one
    of them computed what was passed."""
    returned_by: tuple[str, ...] = ()
    """The function that returned it, and the one whose result that was; by what the pointer
    that was called through holds in the dump, where it was one."""


@facts
class Side:
    """One operand of a comparison or a division."""

    expression: str | None
    value: int | None
    """Signed or unsigned as the instruction takes it."""
    certainty: Certainty


@facts
class Condition:
    """What led to the instruction: a comparison that a branch was taken by."""

    text: str
    """In C: ``p->refs.counter != 1``."""
    operator: str
    left: Side
    right: Side
    offset: int
    """Of the branch, from the start of the function."""
    statement: str
    certainty: Certainty


@facts
class Fault:
    """The faulting instruction explained; None carries its reason in ``absent``."""

    ip: int | None
    symbol: str | None
    offset: int | None
    """``ip`` minus the start of ``symbol``."""
    size: int | None
    """Size of ``symbol`` as the symbol table gives it."""
    module: str | None
    source: str | None
    instruction: str | None
    """AT&T text of the bytes in the dump."""
    access: str | None
    """``read``, ``write`` or ``exec``."""
    address: int | None
    """Address accessed: the CPU's, else computed from the registers."""
    bad_register: str | None
    """Register that held the bad value."""
    expression: str | None
    """C expression the instruction evaluated."""
    null_or_bad: str | None
    """The part of it whose value was bad."""
    alternatives: tuple[str, ...]
    """Other readings of the expression that fit, most plausible first."""
    certainty: Certainty
    """Of the expression: inferred where several fit, or a jump's target is unknown."""
    diagnosis: Diagnosis
    chain: tuple[Link, ...]
    """Values from the function's parameter (or other root) to the bad one."""
    steps: tuple[Step, ...]
    memory_disagrees: bool | None
    """A value differs from what its memory holds in the dump."""
    registers: Mapping[str, int]
    """At the fault, unsigned 64 bit."""
    conflict: str | None
    """The fault address is not what the registers give; nothing is then explained."""
    absent: Mapping[str, Reason]
    why: Mapping[str, str]
    """Key of ``absent`` to one sentence."""
    one_of: tuple[Alternative, ...] = ()
    """Where the bad value may have come from, if ways through the function differ."""
    origins: tuple[OriginStep, ...] = ()
    """Where the chain's first value came from, caller by caller."""
    condition: Condition | None = None
    """What a ``ud2`` was reached by."""
    called_from: str | None = None
    """``function+0xoff [module]`` of the call or jump whose target could not be fetched; the
    steps' offsets count from that function."""
    progress: str | None = None
    """How far a repeated string instruction had come."""
    held_by: tuple[Holder, ...] = ()
    """Who else has the object, where memory disagrees."""
