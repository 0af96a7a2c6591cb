"""Sees through what the kernel's build puts around plain instructions.

Retpolines, return thunks, the function tracer's entry call and the ``ud2`` of a
warning are calls, jumps and traps to a processor; to a reader they are an indirect
call, a return, nothing at all, and a step to the next instruction.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from crashkit.disasm.instruction import Flow, Instruction

NameAt: TypeAlias = Callable[[int], "str | None"]
"""Gives the name of the symbol that starts at an address."""
IsWarning: TypeAlias = Callable[[int], bool]
"""Whether the ``ud2`` at an address continues (WARN) and is not a BUG."""

# arch/x86/lib/retpoline.S: __x86_indirect_thunk_rax, and since 6.2 call_ and jump_
# variants for call depth tracking; since 6.14 its_ and paranoid_ ones.
_INDIRECT = re.compile(
    r"__x86_indirect_(?:call_|jump_|its_|paranoid_)?thunk_(r[a-ds][xip]|r(?:8|9|1[0-5])|array)$"
)
_RETURN = re.compile(
    r"(?:__x86|srso|srso_alias|retbleed|call_depth|its)_return_thunk$"
)  # arch/x86/lib/retpoline.S
_SEALED = bytes.fromhex("66 0f 1f 00")
"""What the kernel writes over an ``endbr64`` that nothing jumps to (gen_endbr_poison(),
arch/x86/include/asm/ibt.h)."""

_TRACER = frozenset({"__fentry__", "mcount", "ftrace_caller", "ftrace_regs_caller"})

_SIZES = (1, 2, 4, 8, "nocheck_1", "nocheck_2", "nocheck_4", "nocheck_8")
_KEEPS_REGISTERS = {
    "clear_bhb_loop": frozenset({"rax", "rcx"}),
    **{f"__get_user_{size}": frozenset({"rax", "rdx"}) for size in _SIZES},
    **{f"__put_user_{size}": frozenset({"rcx", "rbx"}) for size in _SIZES},
}
"""Functions with a calling convention of their own (arch/x86/entry/entry_64.S,
arch/x86/lib/getuser.S and putuser.S), and the registers they change."""

NORETURN = frozenset({
    "__stack_chk_fail", "panic", "nmi_panic_self_stop", "do_exit", "make_task_dead",
    "rewind_stack_and_make_dead",
    "__fortify_panic", "fortify_panic", "do_group_exit", "__module_put_and_kthread_exit",
    "kthread_exit", "do_task_dead", "machine_real_restart", "usercopy_abort", "__reiserfs_panic",
    "__ubsan_handle_builtin_unreachable", "stop_this_cpu", "sev_es_terminate", "xen_start_kernel",
})  # fmt: skip
"""Functions that never return (tools/objtool/noreturns.h, those seen in kernels ≥ 3.10)."""


def recognise(
    instructions: Sequence[Instruction],
    *,
    name_at: NameAt | None = None,
    is_warning: IsWarning | None = None,
    entry: int | None = None,
) -> list[Instruction]:
    """Give thunks, tracer calls and warnings the flow they stand for.

    :param entry: address of the function's first instruction; a call there, or after the
        ``endbr64`` there or what the kernel put in its place, is the function tracer's if it
        leads to no function that has a name
    """
    tracer_places = _tracer_places(instructions, entry)
    result = []
    for instruction in instructions:
        if instruction.flow is Flow.NEXT:
            result.append(instruction)
        elif instruction.address in tracer_places and _is_tracers(instruction, name_at):
            result.append(_as_nothing(instruction))
        elif instruction.target is not None and name_at is not None:
            result.append(_through_name(instruction, name_at(instruction.target)))
        elif is_warning is not None and _is_trap(instruction) and is_warning(instruction.address):
            result.append(dataclasses.replace(instruction, flow=Flow.NEXT))
        else:
            result.append(instruction)
    return result


def _is_trap(instruction: Instruction) -> bool:
    return instruction.operation in ("ud1", "ud2")


def _tracer_places(instructions: Sequence[Instruction], entry: int | None) -> set[int]:
    if entry is None:
        return set()
    places = {entry}
    for instruction in instructions[:1]:
        is_endbr = instruction.operation == "endbr64" or instruction.data == _SEALED
        if instruction.address == entry and is_endbr:
            places.add(instruction.end)
    return places


def _is_tracers(instruction: Instruction, name_at: NameAt | None) -> bool:
    # A function that is not traced may begin with a call as well, of a function with a name.
    if instruction.flow is not Flow.CALL or instruction.target is None:
        return False
    name = name_at(instruction.target) if name_at is not None else None
    return name is None or name in _TRACER or name.startswith(("ftrace_", "bpf_trampoline"))


def _through_name(instruction: Instruction, name: str | None) -> Instruction:
    if name is None:
        return instruction
    if instruction.flow is Flow.CALL and name in _TRACER:
        return _as_nothing(instruction)
    if instruction.flow is Flow.CALL and name in NORETURN:
        return dataclasses.replace(instruction, flow=Flow.STOP)
    if instruction.flow is Flow.CALL and name in _KEEPS_REGISTERS:
        return dataclasses.replace(_as_nothing(instruction), writes=_KEEPS_REGISTERS[name])
    if _RETURN.match(name):
        return _as_return(instruction)
    thunk = _INDIRECT.match(name)
    if thunk is None:
        return instruction
    register = "rax" if thunk[1] == "array" else thunk[1]
    return dataclasses.replace(
        instruction, target=None, via=register, reads=instruction.reads | {register}
    )


def _as_nothing(instruction: Instruction) -> Instruction:
    none: frozenset[str] = frozenset()
    return dataclasses.replace(
        instruction, flow=Flow.NEXT, target=None, reads=none, writes=none, accesses=()
    )


def _as_return(instruction: Instruction) -> Instruction:
    if instruction.flow is not Flow.JUMP:
        return instruction
    return dataclasses.replace(instruction, flow=Flow.RETURN, target=None)
