"""``exec``: a jump to where no code is: what lies there, and who jumped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drgn import Program

from crashkit.crash.panics.call_sites import call_before, name_at
from crashkit.crash.panics.printed import registers_of, report_ip
from crashkit.decode.address_modules import last_unloaded_module
from crashkit.decode.identity import identify
from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address, read_u64
from crashkit.symbols import in_kernel_text, module_at, symbol_at
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_FIRST_PAGES = 0x10000
_CANONICAL = 1 << 47
# Module area of the lowest and highest kernel (Documentation/arch/x86/x86_64/mm.rst).
_MODULES = (0xFFFF_FFFF_A000_0000, 0xFFFF_FFFF_FF00_0000)
_WORDS = 4


@facts
class Exec:
    """A jump to where no code is. A None field has its reason in ``absent``."""

    target: int
    kind: str
    """``null``, ``small``, ``user``, ``module-area``, ``kernel-data``, ``kernel-text`` or
    ``not-canonical``."""
    identity: str | None
    """What lies there."""
    last_unloaded: str | None
    """The module unloaded last, for a target in the modules' area."""
    return_address: int | None
    """Where the call would have returned to, from the stack."""
    caller: str | None
    """``function+0x… [module]`` of it."""
    call: str | None
    """The call instruction before it."""
    call_is_indirect: bool | None
    absent: Mapping[str, Reason]


def read(crash: Crash) -> Exec | None:
    """Say where the jump went and who jumped; None where the instruction is code.

    :raises Unavailable: the address of the fault is not known
    """
    target = report_ip(crash)
    if target is None and (crash.oops is None or crash.oops.kind != "exec-fault"):
        return None
    if target is None:
        raise Unavailable("the jump", Reason.NOT_IN_DUMP, "its target is not known")
    prog = crash.prog
    kind = classify(prog, target)
    if kind == "kernel-text":
        return None
    absent: dict[str, Reason] = {}
    returns = caller = call = None
    try:
        returns = _return_address(crash)
        caller = name_at(prog, returns, returned=True)
        call = call_before(prog, returns)
    except Unavailable as missing:
        for key, value in (("return_address", returns), ("caller", caller), ("call", call)):
            if value is None:
                absent[key] = missing.reason
    in_modules = kind == "module-area"
    unloaded = None
    if in_modules:
        try:
            unloaded = last_unloaded_module(prog)
        except Unavailable as missing:
            absent["last_unloaded"] = missing.reason
    return Exec(
        target=target,
        kind=kind,
        identity=None if in_modules else identify(prog, target),
        last_unloaded=unloaded,
        return_address=returns,
        caller=caller,
        call=None if call is None else _call_words(prog, call),
        call_is_indirect=None if call is None else _is_indirect(prog, call),
        absent=absent,
    )


def classify(prog: Program, target: int) -> str:
    """Say what kind of address a jump went to."""
    if target == 0:
        return "null"
    if target < _FIRST_PAGES:
        return "small"
    if target < _CANONICAL:
        return "user"
    if not is_kernel_address(target):
        return "not-canonical"
    if in_kernel_text(prog, target):
        found = symbol_at(prog, target)
        # The core kernel's image holds its data, too.
        executable = module_at(prog, target) is not None or (
            found is not None and found.address <= target < found.address + found.size
        )
        return "kernel-text" if executable and _is_code(prog, target) else "kernel-data"
    return "module-area" if _MODULES[0] <= target < _MODULES[1] else "kernel-data"


def _is_code(prog: Program, target: int) -> bool:
    try:
        end = prog.symbol("_etext").address
    except LookupError:
        return module_at(prog, target) is not None
    return target < end or module_at(prog, target) is not None


def _return_address(crash: Crash) -> int:
    sp = registers_of(crash).get("rsp")
    if crash.fault_frame is not None:
        sp = crash.fault_frame.sp
    if sp is None:
        raise Unavailable("the caller", Reason.NOT_SAVED, "the stack pointer is not known")
    value = read_u64(crash.prog, sp, "the caller")
    if not in_kernel_text(crash.prog, value):
        detail = f"{value:#x} on the stack is no return address: a jump, not a call"
        raise Unavailable("the caller", Reason.CORRUPTED, detail)
    return value


_THUNKS = ("__x86_indirect_thunk_", "__x86_indirect_call_thunk_", "__x86_indirect_its_thunk_")


def _thunk(prog: Program, call: Instruction) -> str | None:
    # The register that a call by way of a retpoline goes through.
    found = None if call.target is None else symbol_at(prog, call.target)
    for prefix in _THUNKS if found is not None else ():
        if found is not None and found.name.startswith(prefix):
            return found.name.removeprefix(prefix)
    return None


def _is_indirect(prog: Program, call: Instruction) -> bool:
    return call.target is None or _thunk(prog, call) is not None


def _call_words(prog: Program, call: Instruction) -> str:
    register = _thunk(prog, call)
    if register is not None:
        return f"call *%{register}"
    return call.text if call.target is None else f"call {name_at(prog, call.target) or '?'}"
