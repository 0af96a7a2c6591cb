"""Explaining one fault: the instruction, its expression, and where the bad value came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from drgn import Program, Type

from crashkit.dataflow import analyse_function
from crashkit.decode.address_walk import walk_page_tables
from crashkit.disasm import Flow, Instruction, decode_one
from crashkit.errors import Reason, Unavailable
from crashkit.fault.access import find_faulting_access
from crashkit.fault.callers import Callers
from crashkit.fault.chain import Identify
from crashkit.fault.conditions import explain_division, explain_trap
from crashkit.fault.diagnosis import is_noncanonical
from crashkit.fault.draft import EXPRESSION, UNEXPLAINED, Draft
from crashkit.fault.here import Here, Place, Prototype
from crashkit.fault.jumps import explain_jump
from crashkit.fault.model import Diagnosis, Fault
from crashkit.fault.operand import explain_operand
from crashkit.fault.passed import in_callers_words
from crashkit.fault.strings import name_moved, progress_of
from crashkit.fault.values import Values
from crashkit.memory import is_kernel_address
from crashkit.symbols import symbol_at
from crashkit.unwind import Frame

_TRAPS = ("ud2", "ud1")
_NO_OPERATION = ("ud0", "(bad)")
_DIVISIONS = ("div", "idiv")


def explain_fault(
    prog: Program,
    frame: Frame,
    *,
    fault_address: int | None,
    prototype: Type | None = None,
    identify: Identify | None = None,
    segment_bases: Mapping[str, int] | None = None,
    five_level: bool | None = None,
    frames: Sequence[Frame] = (),
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
    :param frames: the stack from ``frame`` outward; its callers tell where a parameter's
        value came from
    :returns: what can be said; a key that cannot be has a reason in ``absent``
    """
    draft = Draft(
        prog=prog,
        frame=frame,
        function=symbol_at(prog, frame.pc),
        registers={name: held.value for name, held in frame.registers.items()},
        reported=fault_address,
        five_level=five_level,
        identify=identify or (lambda address: name_of(prog, address)),
        address=fault_address,
    )
    callers = Callers(prog, frame, frames, draft.identify)
    try:
        draft.instruction = decode_one(prog, frame.pc)
    except Unavailable as missing:
        if is_noncanonical(frame.pc, five_level=five_level, no_address=True):
            why = f"{frame.pc:#x} is no canonical address: no code can be there"
            draft.lacks(Unavailable("code", Reason.NOT_APPLICABLE, why), "instruction", "symbol")
        draft.lacks(missing, "instruction", *UNEXPLAINED)
    if _is_fetch(draft) or _jumps_nowhere(draft):
        explain_jump(draft, callers)
    elif draft.instruction is not None:
        try:
            _explain(draft, callers, draft.instruction, prototype, segment_bases or {})
        except Unavailable as missing:
            draft.lacks(missing, *EXPRESSION, "memory_disagrees")
    return draft.finish()


def name_of(prog: Program, address: int) -> str | None:
    """Name a kernel address by its symbol: ``init_net``, ``init_net+0x10``; else None."""
    if not is_kernel_address(address):
        return None
    symbol = symbol_at(prog, address)
    if symbol is None or not symbol.address <= address < symbol.address + max(symbol.size, 1):
        return None
    distance = address - symbol.address
    return symbol.name + (f"+{distance:#x}" if distance else "")


def _is_fetch(draft: Draft) -> bool:
    # Some CPUs refuse the fetch at an address that is none, others the jump to it.
    nowhere = is_noncanonical(draft.frame.pc, five_level=None, no_address=True)
    draft.at_target = draft.frame.pc == draft.reported or nowhere
    return draft.at_target


def _jumps_nowhere(draft: Draft) -> bool:
    # A call or jump to what is no address at all is refused where it is made.
    instruction = draft.instruction
    if draft.reported is not None or instruction is None:
        return False
    if instruction.flow is Flow.RETURN and "thunk" in (
        draft.function.name if draft.function else ""
    ):
        return True
    if instruction.flow not in (Flow.CALL, Flow.JUMP) or not instruction.arguments:
        return False
    register = getattr(instruction.arguments[0], "full", None)
    if register is None:
        return _goes_nowhere(draft, instruction)
    value = draft.registers.get(register)
    return value is not None and is_noncanonical(value, five_level=None, no_address=True)


def _goes_nowhere(draft: Draft, instruction: Instruction) -> bool:
    # Through memory: its operand can be read, and what it holds is no address.
    try:
        found = find_faulting_access(instruction, draft.registers, {}, None)
    except Unavailable:
        return False
    address = found.address
    return (
        instruction.target is None
        and address is not None
        and not is_noncanonical(address, five_level=None, no_address=True)
    )


def _explain(
    draft: Draft,
    callers: Callers,
    instruction: Instruction,
    prototype: Type | None,
    bases: Mapping[str, int],
) -> None:
    if instruction.operation in _TRAPS:
        missing = Unavailable("faulting access", Reason.NOT_APPLICABLE, "it accesses no memory")
        draft.lacks(missing, *UNEXPLAINED)
        explain_trap(draft, lambda: _here(draft, callers, prototype))
        return
    if instruction.operation in _NO_OPERATION:
        draft.diagnosis = Diagnosis(
            kind="other", statement=f"{instruction.text} is no instruction that the CPU runs"
        )
    divides = instruction.operation in _DIVISIONS and draft.reported is None
    if divides and draft.frame.exception in (None, "asm_exc_divide_error", "divide_error"):
        explain_division(draft, _here(draft, callers, prototype), instruction)
        return
    _explain_access(draft, callers, instruction, prototype, bases)


def _explain_access(
    draft: Draft,
    callers: Callers,
    instruction: Instruction,
    prototype: Type | None,
    bases: Mapping[str, int],
) -> None:
    try:
        found = find_faulting_access(
            instruction, draft.registers, bases, draft.reported, partial(_is_unmapped, draft.prog)
        )
    except Unavailable as missing:
        if missing.reason is Reason.CORRUPTED:
            draft.conflict = missing.detail
        draft.lacks(missing, *UNEXPLAINED)
        return
    draft.access = found.kind
    draft.bad_register = found.bad_register
    if draft.address is None:
        draft.address = found.address
    if found.address is None:
        why = "a register or segment base is not known"
        draft.lacks(Unavailable("address", Reason.NOT_SAVED, why), "address")
    register = found.bad_register
    value = draft.registers.get(register) if register is not None else found.address
    if value is not None:
        draft.diagnose(register or "the address", value)
    if register is None:
        why = "the instruction names the address itself"
        draft.lacks(Unavailable("bad register", Reason.NOT_APPLICABLE, why), "bad_register")
        return
    if register not in draft.registers:
        draft.lacks(Unavailable(register, Reason.NOT_SAVED), *EXPRESSION)
        return
    here = _here(draft, callers, prototype)
    explain_operand(draft, here, instruction, found.access)
    name_moved(draft, here, instruction)
    draft.progress = progress_of(draft, here, instruction)
    if draft.bad is not None:
        passed = callers.trace(draft.bad, here.values)
        draft.origins = tuple(step for one in passed for step in one.steps)
        in_callers_words(draft, here, found.access, passed)


def _is_unmapped(prog: Program, address: int) -> bool:
    with suppress(Unavailable):
        return not walk_page_tables(prog, address).present
    return False


def _here(draft: Draft, callers: Callers, prototype: Type | None) -> Here:
    if draft.function is None:
        raise Unavailable("the function", Reason.NO_DEBUGINFO, "no symbol is there")
    flow = analyse_function(draft.prog, draft.function)
    values = Values(draft.prog, draft.frame, flow)
    values.passed = callers.on_entry
    told = Prototype(type=prototype) if prototype is not None else None
    place = Place(
        prog=draft.prog,
        function=draft.function,
        flow=flow,
        pc=draft.frame.pc,
        sp=draft.frame.sp,
        prototype=told or callers.prototype_of(draft.function),
        passed=partial(callers.passed, 0),
    )
    return Here(place, values, draft.identify)
