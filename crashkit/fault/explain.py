"""Explaining one fault: the instruction, its expression, and where the bad value came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drgn import Program, Type

from crashkit.dataflow import (
    Parameter,
    Term,
    Unknown,
    analyse_function,
    lineage,
    parameters_of,
    prototype_of,
    signed64,
    split,
)
from crashkit.disasm import Instruction, decode_one
from crashkit.errors import Reason, Unavailable
from crashkit.fault.access import FaultingAccess, find_faulting_access
from crashkit.fault.chain import Identify, links, steps
from crashkit.fault.diagnosis import BadValue, diagnose
from crashkit.fault.model import Diagnosis, Fault, Link, Step
from crashkit.fault.reading import Reader, Reading
from crashkit.fault.values import Values
from crashkit.memory import is_kernel_address
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.unwind import Frame
from crashkit.value import Certainty

_U64 = (1 << 64) - 1


@dataclass(kw_only=True)
class _Draft:
    # A Fault while it is put together; what is missing stays None with its reason.
    frame: Frame
    function: SymbolAt | None
    registers: Mapping[str, int]
    reported: int | None
    five_level: bool | None
    instruction: Instruction | None = None
    access: str | None = None
    address: int | None = None
    bad_register: str | None = None
    expressions: tuple[Reading, ...] = ()
    bad: Reading | None = None
    certainty: Certainty = Certainty.INFERRED
    diagnosis: Diagnosis = Diagnosis(kind="other", statement="")  # noqa: RUF009 - frozen
    chain: tuple[Link, ...] = ()
    steps: tuple[Step, ...] = ()
    conflict: str | None = None
    missing: dict[str, Unavailable] = field(default_factory=dict)

    def lacks(self, missing: Unavailable, *keys: str) -> None:
        """Note why keys have no value; the first reason stays."""
        for key in keys:
            self.missing.setdefault(key, missing)


def explain_fault(
    prog: Program,
    frame: Frame,
    *,
    fault_address: int | None,
    prototype: Type | None = None,
    identify: Identify | None = None,
    segment_bases: Mapping[str, int] | None = None,
    five_level: bool | None = None,
) -> Fault:
    """Explain the instruction that faulted in ``frame``.

    :param frame: the interrupted frame, with every register
    :param fault_address: what the CPU reported (CR2); None for a general protection
        fault, whose CR2 is another fault's
    :param prototype: type of the frame's function, where the caller knows it; by default
        it is looked up by name and address
    :param identify: says what an address is; by default the symbol that contains it
    :param segment_bases: ``gs`` to the address of this CPU's per-CPU memory
    :param five_level: five-level paging was on; None: not known
    :returns: what can be said; a key that cannot be has a reason in ``absent``
    """
    draft = _Draft(
        frame=frame,
        function=symbol_at(prog, frame.pc),
        registers={name: held.value for name, held in frame.registers.items()},
        reported=fault_address,
        five_level=five_level,
        address=fault_address,
    )
    try:
        draft.instruction = decode_one(prog, frame.pc)
    except Unavailable as missing:
        draft.lacks(missing, "instruction", *_UNEXPLAINED)
    if frame.pc == fault_address:
        _explain_jump(draft)
    elif draft.instruction is not None:
        _explain_access(draft, draft.instruction, segment_bases or {})
    if draft.bad_register is not None and draft.function is not None:
        try:
            _explain_expression(prog, draft, prototype, identify or (lambda a: name_of(prog, a)))
        except Unavailable as missing:
            draft.lacks(missing, *_EXPRESSION, "memory_disagrees")
    return _finish(draft)


_EXPRESSION = ("expression", "null_or_bad")
_UNEXPLAINED = ("access", "bad_register", *_EXPRESSION, "memory_disagrees")


def name_of(prog: Program, address: int) -> str | None:
    """Name a kernel address by its symbol: ``init_net``, ``init_net+0x10``; else None."""
    if not is_kernel_address(address):
        return None
    symbol = symbol_at(prog, address)
    if symbol is None or not symbol.address <= address < symbol.address + max(symbol.size, 1):
        return None
    distance = address - symbol.address
    return symbol.name + (f"+{distance:#x}" if distance else "")


def _explain_jump(draft: _Draft) -> None:
    # The CPU could not fetch the instruction: a call or jump through a bad pointer.
    draft.access = "exec"
    draft.diagnosis = _diagnose(draft, "the address jumped to", draft.frame.pc)
    caller = Unavailable("expression", Reason.UNSUPPORTED, "the jump is in the calling frame")
    draft.missing.pop("access", None)
    draft.lacks(caller, *_UNEXPLAINED[1:])


def _explain_access(draft: _Draft, instruction: Instruction, bases: Mapping[str, int]) -> None:
    try:
        found = find_faulting_access(instruction, draft.registers, bases, draft.reported)
    except Unavailable as missing:
        if missing.reason is Reason.CORRUPTED:
            draft.conflict = missing.detail
        draft.lacks(missing, *_UNEXPLAINED)
        return
    draft.access = found.kind
    draft.bad_register = found.bad_register
    if draft.address is None:
        draft.address = found.address
    if found.address is None:
        why = "a register or segment base is not known"
        draft.lacks(Unavailable("address", Reason.NOT_SAVED, why), "address")
    if found.bad_register is None:
        why = "the instruction names the address itself"
        draft.lacks(Unavailable("bad register", Reason.NOT_APPLICABLE, why), "bad_register")
    elif found.bad_register not in draft.registers:
        draft.lacks(Unavailable(found.bad_register, Reason.NOT_SAVED), *_EXPRESSION)
    draft.diagnosis = _diagnose_access(draft, found)


def _diagnose_access(draft: _Draft, found: FaultingAccess) -> Diagnosis:
    name = found.bad_register
    value = draft.registers.get(name) if name is not None else found.address
    if value is None:
        return Diagnosis(kind="other", statement="")
    return _diagnose(draft, name or "the address", value)


def _diagnose(draft: _Draft, name: str, value: int, addend: int = 0) -> Diagnosis:
    return diagnose(
        BadValue(
            name=name,
            value=value,
            addend=addend,
            faulted_at=draft.reported,
            five_level=draft.five_level,
        )
    )


def _explain_expression(
    prog: Program, draft: _Draft, prototype: Type | None, identify: Identify
) -> None:
    function, trapping = draft.function, draft.instruction
    if function is None or trapping is None or draft.bad_register is None:
        return
    flow = analyse_function(prog, function)
    values = Values(prog, draft.frame, flow)
    reader = Reader(prog, _parameters(prog, function, prototype, draft))
    term = values.state.register(draft.bad_register)
    root, addend = split(term)
    if isinstance(root, Unknown):
        why = f"where {draft.bad_register} comes from is not decided by the code before it"
        raise Unavailable("expression", Reason.AMBIGUOUS, why)
    _say_bad(draft, reader, root, addend)
    try:
        draft.expressions = _expressions(draft, reader, values, trapping)
    except Unavailable as missing:
        draft.lacks(missing, "expression")
    if draft.expressions:
        draft.bad = _bad_part(draft.expressions[0], root) or draft.bad
    sure = flow.complete and len(draft.expressions) == 1
    draft.certainty = Certainty.PROVED if sure else Certainty.INFERRED
    if draft.bad is not None:
        draft.chain = links(draft.bad, values, identify)
    expression = draft.expressions[0].text if draft.expressions else None
    draft.steps = steps(
        draft.chain, [*lineage(root)][-1], flow, function.address, trapping, expression
    )


def _parameters(
    prog: Program, function: SymbolAt, prototype: Type | None, draft: _Draft
) -> Mapping[Term, Parameter]:
    # Without them, values that come from globals or calls can still be read.
    try:
        return parameters_of(prototype or prototype_of(prog, function))
    except Unavailable as missing:
        draft.lacks(missing, *_EXPRESSION)
        return {}


def _say_bad(draft: _Draft, reader: Reader, root: Term, addend: int) -> None:
    # Diagnose what the register was computed from, not what was added to it.
    name = draft.bad_register or ""
    try:
        readings = reader.readings(root)
        draft.bad, name = readings[0], readings[0].text
    except Unavailable as missing:
        draft.lacks(missing, *_EXPRESSION)
    value = draft.registers.get(draft.bad_register or "")
    if value is not None:
        draft.diagnosis = _diagnose(draft, name, (value - addend) & _U64, addend)


def _expressions(
    draft: _Draft, reader: Reader, values: Values, trapping: Instruction
) -> tuple[Reading, ...]:
    access = next(a for a in trapping.accesses if draft.bad_register in a.memory.registers)
    memory = access.memory
    failure: Unavailable | None = None
    # Either register may be the pointer and the other the index.
    for pointer, index, scale in (
        (memory.base, memory.index, memory.scale),
        (memory.index, memory.base, 1),
    ):
        if pointer is None or (pointer == memory.index and memory.scale != 1):
            continue
        root, addend = split(values.state.register(pointer))
        try:
            moved = _index_bytes(draft, index, scale)
            return reader.through(
                root, addend + memory.displacement, access.size, Unknown(), index=moved
            )
        except Unavailable as missing:
            failure = failure or missing
    raise failure or Unavailable("expression", Reason.NOT_APPLICABLE, "no register is used")


def _index_bytes(draft: _Draft, index: str | None, scale: int) -> int:
    if index is None:
        return 0
    if index not in draft.registers:
        raise Unavailable(index, Reason.NOT_SAVED, "the frame does not have it")
    return signed64(draft.registers[index] * scale)


def _bad_part(expression: Reading, root: Term) -> Reading | None:
    reading: Reading | None = expression
    while reading is not None:
        if reading.term == root:
            return reading
        reading = reading.parent
    return None


def _finish(draft: _Draft) -> Fault:
    frame, function = draft.frame, draft.function
    texts = [reading.text for reading in draft.expressions]
    expression = texts[0] if texts else None
    known = {
        "instruction": draft.instruction.text if draft.instruction else None,
        "access": draft.access,
        "address": draft.address,
        "bad_register": draft.bad_register,
        "expression": expression,
        "null_or_bad": draft.bad.text if draft.bad else None,
        "memory_disagrees": _memory_disagrees(draft),
        "symbol": function.name if function else None,
    }
    missing = {key: _reason(draft, key) for key, value in known.items() if value is None}
    return Fault(
        ip=frame.pc,
        symbol=function.name if function else None,
        offset=frame.pc - function.address if function else None,
        size=function.size if function else None,
        module=function.module if function else frame.module,
        source=frame.source,
        instruction=draft.instruction.text if draft.instruction else None,
        access=draft.access,
        address=draft.address,
        bad_register=draft.bad_register,
        expression=expression,
        null_or_bad=draft.bad.text if draft.bad else None,
        alternatives=tuple(text for text in dict.fromkeys(texts) if text != expression),
        certainty=draft.certainty,
        diagnosis=draft.diagnosis,
        chain=draft.chain,
        steps=draft.steps,
        memory_disagrees=_memory_disagrees(draft),
        registers=draft.registers,
        conflict=draft.conflict,
        absent={key: reason for key, (reason, _) in missing.items()},
        why={key: sentence for key, (_, sentence) in missing.items()},
    )


def _memory_disagrees(draft: _Draft) -> bool | None:
    answers = [link.disagrees for link in draft.chain if link.disagrees is not None]
    return any(answers) if answers else None


def _reason(draft: _Draft, key: str) -> tuple[Reason, str]:
    missing = draft.missing.get(key)
    if missing is not None:
        return missing.reason, str(missing)
    if key == "memory_disagrees" and draft.chain:
        reason = draft.chain[-1].absent.get("now", Reason.NOT_APPLICABLE)
        return reason, "the memory the value was read from cannot be read again"
    return Reason.NOT_APPLICABLE, "nothing in this fault gives it"
