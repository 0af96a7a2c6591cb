"""Walking one stack outward by the kernel's ORC rules.

The steps are those of ``unwind_next_frame()`` in arch/x86/kernel/unwind_orc.c. Two
things it does not need: a function without any rule is left by finding the call that
entered it (``bridge``), and callee-saved registers are followed from frame to frame
by where each function keeps its caller's values (``recover``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from drgn import FaultError, Object, Program, Type, offsetof

from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_u64
from crashkit.registers import CALLEE_SAVED, PT_REGS_MEMBERS
from crashkit.symbols.lookup import SymbolAt, in_kernel_text, symbol_at
from crashkit.symbols.orc import Base, Kind, Rule
from crashkit.unwind.bridge import find_caller, may_be_generated
from crashkit.unwind.frames import Frame, RegisterValue
from crashkit.unwind.nowhere import called_a_pointer, is_no_code
from crashkit.unwind.rules import OrcRules, Rules, unwind_rules
from crashkit.unwind.tracer import trampoline_at
from crashkit.value import Certainty, Origin, facts

MAX_FRAMES = 256


@dataclass(frozen=True, slots=True)
class EntryLocation:
    """Where a function keeps, at some pc, the value a register had on entry."""

    register: str | None = None
    """Still in this register."""
    cfa_offset: int | None = None
    """In the stack slot at CFA plus this (negative) offset."""
    certain: bool = True
    """It follows from all of the function's code; otherwise from what is known of it."""


Recover = Callable[[SymbolAt, int, bool], Mapping[str, EntryLocation]]
"""(function, pc, interrupted) to the location of each callee-saved register's entry value."""


@facts
class Context:
    """Registers at one instruction, and how the walk came there."""

    pc: int
    sp: int
    registers: Mapping[str, RegisterValue] = field(default_factory=dict)
    interrupted: bool = True
    slot: int | None = None
    exception: str | None = None
    pt_regs: int | None = None
    how: str = "registers"

    def register(self, name: str) -> int | None:
        """Value of a register here, None when it is not known."""
        found = self.registers.get(name)
        return found.value if found else None


@facts
class Walk:
    """Frames of a stack, innermost first, and why the walk ended."""

    frames: tuple[Frame, ...]
    end: str
    complete: bool
    """Whether it reached user space or the stack's own end."""
    reason: Reason | None = None
    """Why it is not complete."""


def walk(prog: Program, start: Context, *, recover: Recover | None = None) -> Walk:
    """Walk outward from ``start`` to user space or the end of the stack.

    :raises Unavailable: the kernel's unwind tables cannot be had at all
    """
    rules = unwind_rules(prog)
    frames: list[Frame] = []
    seen: set[tuple[int, int]] = set()
    context: Context | None = start
    step = _Step(caller=None)
    while context is not None:
        if len(frames) >= MAX_FRAMES:
            step = _ended(f"more than {MAX_FRAMES} frames", Reason.BUDGET)
            break
        if (context.pc, context.sp) in seen:
            step = _ended(f"the stack repeats itself at {context.sp:#x}", Reason.CORRUPTED)
            break
        seen.add((context.pc, context.sp))
        symbol = symbol_at(prog, context.pc if context.interrupted else context.pc - 1)
        symbol = symbol or trampoline_at(prog, context.pc)
        step = _step(prog, rules, context, symbol, recover)
        frames.append(_frame(context, symbol, step))
        context = step.caller
    return Walk(
        frames=tuple(_number(frames)),
        end=step.end,
        complete=step.reason is None,
        reason=step.reason,
    )


@facts
class _Step:
    caller: Context | None
    cfa: int | None = None
    end: str = ""
    reason: Reason | None = None


def _ended(end: str, reason: Reason | None, cfa: int | None = None) -> _Step:
    return _Step(caller=None, cfa=cfa, end=end, reason=reason)


def _step(
    prog: Program,
    rules: Rules,
    context: Context,
    symbol: SymbolAt | None,
    recover: Recover | None,
) -> _Step:
    try:
        rule = rules.find(context.pc if context.interrupted else context.pc - 1)
        if rule is None:
            return _bridge(prog, context, symbol)
        if rule.kind is Kind.END_OF_STACK:
            return _ended("end of stack", None)
        cfa = _cfa(prog, context, rule)
        if rule.kind is Kind.CALL:
            step = _return(prog, context, rule, cfa, symbol, recover)
            return step if isinstance(rules, OrcRules) else _by_convention(step)
        return _exception(prog, context, rule, cfa, symbol)
    except Unavailable as missing:
        return _ended(str(missing), missing.reason)
    except FaultError as fault:
        return _ended(f"{fault.address:#x} is not in the dump", Reason.NOT_IN_DUMP)


def _cfa(prog: Program, context: Context, rule: Rule) -> int:
    if rule.sp_base is Base.SP:
        return context.sp + rule.sp_offset
    if rule.sp_base is Base.SP_INDIRECT:
        return read_u64(prog, context.sp, "saved stack pointer") + rule.sp_offset
    name = "rbp" if rule.sp_base is Base.BP_INDIRECT else rule.sp_base.value
    base = context.register(name)
    if base is None:
        raise Unavailable(f"{name} at {context.pc:#x}", Reason.NOT_SAVED)
    if rule.sp_base is Base.BP_INDIRECT:
        return read_u64(prog, base + rule.sp_offset, "saved stack pointer")
    return base + rule.sp_offset


def _return(
    prog: Program,
    context: Context,
    rule: Rule,
    cfa: int,
    symbol: SymbolAt | None,
    recover: Recover | None,
) -> _Step:
    pc = read_u64(prog, cfa - 8, "return address")
    if not in_kernel_text(prog, pc) and not may_be_generated(prog, pc):
        end = f"return address {pc:#x} is no kernel text"
        return _ended(end, Reason.CORRUPTED, cfa)
    registers = _callee_saved(prog, context, cfa, symbol, recover)
    saved_bp = _saved_bp(prog, context, rule, cfa)
    followed = registers.get("rbp")
    if saved_bp is not None and (followed is None or followed.value != saved_bp.value):
        registers["rbp"] = saved_bp
    caller = Context(pc=pc, sp=cfa, registers=registers, interrupted=False, slot=cfa - 8, how="orc")
    return _Step(caller=caller, cfa=cfa)


def _by_convention(step: _Step) -> _Step:
    # Frame pointers are a convention that a function may break; ORC is checked by objtool.
    if step.caller is None:
        return step
    registers = dict(step.caller.registers)
    if "rbp" in registers:
        registers["rbp"] = replace(registers["rbp"], certainty=Certainty.INFERRED)
    return replace(step, caller=replace(step.caller, registers=registers, how="frame pointer"))


def _saved_bp(prog: Program, context: Context, rule: Rule, cfa: int) -> RegisterValue | None:
    # None: rbp was not saved here, so it still is the caller's.
    if rule.bp_base is Base.PREV_SP:
        slot = cfa + rule.bp_offset
    elif rule.bp_base is Base.BP:
        base = context.register("rbp")
        if base is None:
            return None
        slot = base + rule.bp_offset
    else:
        return context.registers.get("rbp")
    value = read_u64(prog, slot, "saved rbp")
    return RegisterValue(value=value, origin=Origin.CFI, certainty=Certainty.PROVED, slot=slot)


def _callee_saved(
    prog: Program,
    context: Context,
    cfa: int,
    symbol: SymbolAt | None,
    recover: Recover | None,
) -> dict[str, RegisterValue]:
    # What the caller's callee-saved registers hold, by where this function keeps them.
    if symbol is None or recover is None:
        return {}
    found: dict[str, RegisterValue] = {}
    for name, location in recover(symbol, context.pc, context.interrupted).items():
        if name not in CALLEE_SAVED:
            continue
        if location.register is not None:
            kept = context.registers.get(location.register)
            if kept is not None:
                found[name] = kept if location.certain else _doubted(kept)
        elif location.cfa_offset is not None:
            slot = cfa + location.cfa_offset
            try:
                value = read_u64(prog, slot, f"saved {name}")
            except Unavailable:
                continue  # the register is then not known, the frames further out still are
            found[name] = RegisterValue(
                value=value,
                origin=Origin.SAVED_REGISTER,
                certainty=Certainty.PROVED if location.certain else Certainty.INFERRED,
                slot=slot,
                saved_by=symbol.name,
            )
    return found


def _doubted(held: RegisterValue) -> RegisterValue:
    return replace(held, certainty=Certainty.INFERRED)


def _exception(
    prog: Program, context: Context, rule: Rule, cfa: int, symbol: SymbolAt | None
) -> _Step:
    # The entry code saved a struct pt_regs; a partial one holds only what iret needs.
    regs_type = prog.type("struct pt_regs")
    address = cfa
    wanted = dict(PT_REGS_MEMBERS)
    if rule.kind is Kind.REGS_PARTIAL:
        address = cfa - _offset(regs_type, "ip")
        wanted = {name: wanted[name] for name in ("rip", "cs", "rflags", "rsp", "ss")}
    regs = Object(prog, regs_type, address=address)
    if int(regs.cs) & 3:
        return _ended("user space", None, cfa)
    registers = {
        name: RegisterValue(
            value=int(regs.member_(member)),
            origin=Origin.REGISTER,
            certainty=Certainty.PROVED,
            slot=address + _offset(regs_type, member),
        )
        for name, member in wanted.items()
    }
    if rule.kind is Kind.REGS_PARTIAL and "rbp" in context.registers:
        registers["rbp"] = context.registers["rbp"]
    pc, sp = registers["rip"].value, registers["rsp"].value
    if pc == 0 and sp == 0:
        return _ended("end of stack", None, cfa)
    caller = Context(
        pc=pc,
        sp=sp,
        registers=registers,
        interrupted=True,
        exception=symbol.name if symbol else None,
        pt_regs=address,
        how="registers",
    )
    return _Step(caller=caller, cfa=cfa)


def _offset(type_: Type, member: str) -> int:
    return int(offsetof(type_, member))


def _bridge(prog: Program, context: Context, symbol: SymbolAt | None) -> _Step:
    if context.interrupted and is_no_code(prog, context.pc, symbol):
        return _jumped_nowhere(prog, context)
    if may_be_generated(prog, context.pc):
        caller = _by_frame_pointer(prog, context)
        if caller is not None:
            return _Step(caller=caller, cfa=caller.sp)
    if symbol is None:
        return _ended(f"nothing describes the code at {context.pc:#x}", Reason.NO_DEBUGINFO)
    slot = find_caller(prog, symbol, context.sp)
    if slot is None:
        return _ended(f"no unwind rule for {symbol.name}", Reason.NO_DEBUGINFO)
    registers = {n: v for n, v in context.registers.items() if n == "rbp"}
    caller = Context(
        pc=read_u64(prog, slot, "return address"),
        sp=slot + 8,
        registers=registers,
        interrupted=False,
        slot=slot,
        how="call-site scan",
    )
    return _Step(caller=caller, cfa=slot + 8)


# A frame of generated code is at most this big: a BPF program has 512 bytes of stack
# (MAX_BPF_STACK) below what it pushes, a trampoline its arguments.
_MAX_GENERATED_FRAME = 2048


def _by_frame_pointer(prog: Program, context: Context) -> Context | None:
    # Generated code keeps a frame pointer; the kernel's unwinder relies on it as well
    # (orc_fp_entry in arch/x86/kernel/unwind_orc.c).
    base = context.register("rbp")
    if base is None or base % 8 or not 0 <= base - context.sp <= _MAX_GENERATED_FRAME:
        return None
    pc = read_u64(prog, base + 8, "return address")
    if not in_kernel_text(prog, pc) and not may_be_generated(prog, pc):
        return None
    outer = RegisterValue(
        value=read_u64(prog, base, "saved rbp"),
        origin=Origin.CFI,
        certainty=Certainty.INFERRED,
        slot=base,
    )
    return Context(
        pc=pc,
        sp=base + 16,
        registers={"rbp": outer},
        interrupted=False,
        slot=base + 8,
        how="frame pointer",
    )


def _jumped_nowhere(prog: Program, context: Context) -> _Step:
    # A call through a bad pointer: the return address is what rsp points at, and no register
    # has changed since.
    pc = read_u64(prog, context.sp, "return address")
    if not in_kernel_text(prog, pc) or not called_a_pointer(prog, pc):
        return _ended(f"{context.pc:#x} is no kernel text", Reason.CORRUPTED)
    registers = {n: v for n, v in context.registers.items() if n in CALLEE_SAVED}
    caller = Context(
        pc=pc, sp=context.sp + 8, registers=registers, interrupted=False, slot=context.sp,
        how="orc",
    )  # fmt: skip
    return _Step(caller=caller, cfa=context.sp + 8)


def _frame(context: Context, symbol: SymbolAt | None, step: _Step) -> Frame:
    return Frame(
        index=0,
        pc=context.pc,
        sp=context.sp,
        slot=context.slot,
        cfa=step.cfa,
        function=symbol.name if symbol else None,
        offset=context.pc - symbol.address if symbol else None,
        size=symbol.size if symbol else None,
        module=symbol.module if symbol else None,
        interrupted=context.interrupted,
        exception=context.exception,
        how=context.how,
        registers=context.registers,
        pt_regs=context.pt_regs,
    )


def _number(frames: list[Frame]) -> list[Frame]:
    # crash gives no number to the interrupted function: it prints it as [exception RIP].
    numbered, index = [], -1
    for position, frame in enumerate(frames):
        if position == 0 or not frame.interrupted:
            index += 1
        numbered.append(replace(frame, index=index))
    return numbered
