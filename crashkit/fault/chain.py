"""The values on the way to the bad one, and the instructions that computed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from crashkit.dataflow import Const, Dataflow, Entry, Load, PerCpu, Result, Sum, Term
from crashkit.disasm import Instruction, RegisterOperand
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Link, Step
from crashkit.fault.reading import Reading
from crashkit.fault.values import Values
from crashkit.value import Certainty

T = TypeVar("T")
Identify = Callable[[int], "str | None"]
"""Says what an address is, e.g. ``init_net`` or ``slab object nf_conntrack``."""


def links(reading: Reading, values: Values, identify: Identify) -> tuple[Link, ...]:
    """Values from the root of a reading to the reading itself, root first."""
    found: list[Link] = []
    inner: Reading | None = reading
    while inner is not None:
        is_arithmetic = isinstance(inner.term, (Const, Sum)) and inner is not reading
        is_guess = inner.parent is not None and inner.parent.term == inner.term
        if not is_arithmetic and not is_guess:
            found.append(_link(inner, values, identify))
        inner = inner.parent
    return tuple(reversed(found))


def _link(reading: Reading, values: Values, identify: Identify) -> Link:
    term = reading.term
    absent: dict[str, Reason] = {}
    known = _or_reason(lambda: values.at_fault(term), absent, "value")
    address, now, now_certainty = None, None, None
    if isinstance(term, Load):
        address = _or_reason(lambda: values.address_of(term), absent, "address")
        now = _or_reason(lambda: values.now(term), absent, "now")
        if now is not None:
            now_certainty = values.at_fault(term.base).certainty
    else:
        absent |= dict.fromkeys(("address", "now"), Reason.NOT_APPLICABLE)
    identity = identify(known.value) if known is not None else None
    now_identity = identify(now) if now is not None else None
    for key, value in (("identity", identity), ("now_identity", now_identity)):
        if value is None:
            absent[key] = Reason.NOT_APPLICABLE
    if known is None:
        absent["origin"] = absent["value"]
    return Link(
        expression=reading.text,
        ctype=reading.type.type_name(),
        value=known.value if known else None,
        origin=known.origin if known else None,
        certainty=known.certainty if known else Certainty.INFERRED,
        register=known.register if known else None,
        identity=identity,
        address=address,
        now=now,
        now_identity=now_identity,
        now_certainty=now_certainty,
        defined_at=term.at if isinstance(term, (Load, PerCpu, Result)) else None,
        absent=absent,
    )


def _or_reason(get: Callable[[], T], absent: dict[str, Reason], key: str) -> T | None:
    try:
        return get()
    except Unavailable as missing:
        absent[key] = missing.reason
        return None


def steps(
    chain: tuple[Link, ...],
    root: Term | None,
    flow: Dataflow,
    start: int,
    trapping: Instruction,
    expression: str | None,
) -> tuple[Step, ...]:
    """The instructions that define the chain's values, then the trapping one.

    :param root: term of the chain's first link, where it is a register on entry
    :param start: address of the function the steps' offsets count from
    """
    found: list[Step] = []
    for link in chain:
        if link is chain[0] and isinstance(root, Entry):
            found.append(_entry_step(flow, root, link, chain, start))
        elif link.defined_at in flow.instructions:
            found.append(_step(flow.instructions[link.defined_at], start, link))
    found.append(
        Step(
            address=trapping.address,
            offset=trapping.address - start,
            instruction=trapping.text,
            expression=expression,
            trapping=True,
        )
    )
    return tuple(found)


def _step(instruction: Instruction, start: int, link: Link) -> Step:
    return Step(
        address=instruction.address,
        offset=instruction.address - start,
        instruction=instruction.text,
        expression=link.expression,
        value=link.value,
        now=link.now,
    )


def _entry_step(
    flow: Dataflow, root: Entry, link: Link, chain: tuple[Link, ...], start: int
) -> Step:
    used_at = next((later.defined_at for later in chain if later.defined_at is not None), None)
    copy = _first_copy(flow, root, used_at or 0)
    if copy is not None:
        return _step(copy, start, link)
    return Step(
        address=flow.entry,
        offset=flow.entry - start,
        instruction=f"(%{root.register} on entry)",
        expression=link.expression,
        value=link.value,
    )


def _first_copy(flow: Dataflow, root: Entry, before: int) -> Instruction | None:
    # Where the function puts the parameter aside: the first mov between registers.
    for address in sorted(flow.instructions):
        if address >= before:
            return None
        instruction = flow.instructions[address]
        if instruction.operation != "mov" or len(instruction.arguments) != 2:
            continue
        target, source = instruction.arguments
        if not isinstance(target, RegisterOperand) or not isinstance(source, RegisterOperand):
            continue
        if source.name != root.register or target.size != 8:
            continue
        if flow.state_before(address).register(source.name) == root:
            return instruction
    return None
