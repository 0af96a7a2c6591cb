"""What kprobes put over code, undone by what they keep of it.

A probe keeps the first byte of the instruction that its ``int3`` hides (``opcode`` of struct
kprobe); one that was made a jump keeps the four bytes after it, too (``copied_insn`` of struct
arch_optimized_insn, arch/x86/include/asm/kprobes.h). Execution does the original instruction
either way. Nothing is undone unless the dump's code is what that probe would have put there.
"""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress

from drgn import FaultError, Object, Program, container_of

from crashkit.errors import Unavailable
from crashkit.symbols.breakpoints import registered_probes
from crashkit.symbols.lookup import find_symbol

_CACHE_KEY = "crashkit.probes"
_INT3, _JUMP = 0xCC, 0xE9
_JUMP_SIZE = 5
_U32 = (1 << 32) - 1

Probe = tuple[int, int, int, bytes]
"""Address, the byte there before; of one made a jump, where that goes and the bytes behind."""


def without_probes(prog: Program, start: int, code: bytes) -> bytes:
    """Undo the probes in ``code``, which the dump has at ``start``."""
    if _INT3 not in code and _JUMP not in code:
        return code
    probes = _probes(prog)
    first = bisect_left(probes, (start, 0, 0, b""))
    last = bisect_left(probes, (start + len(code), 0, 0, b""))
    restored = bytearray(code)
    for address, opcode, target, behind in probes[first:last]:
        at = address - start
        jump = ((target - address - _JUMP_SIZE) & _U32).to_bytes(4, "little")
        if behind and code[at] in (_INT3, _JUMP) and code[at + 1 : at + _JUMP_SIZE] == jump:
            restored[at : at + _JUMP_SIZE] = bytes((opcode,)) + behind
        elif code[at] == _INT3:
            restored[at] = opcode
    return bytes(restored)


def _probes(prog: Program) -> list[Probe]:
    found: list[Probe] | None = prog.cache.get(_CACHE_KEY)
    if found is None:
        found = []
        # Without kprobes, or where they are not in the dump, an int3 stays one.
        with suppress(Unavailable):
            for probe in registered_probes(prog):
                found.append(_probe(probe))
        found.sort()
        prog.cache[_CACHE_KEY] = found
    return found


def _probe(probe: Object) -> Probe:
    several = find_symbol(probe.prog_, "aggr_pre_handler")
    is_several = several is not None and probe.pre_handler.value_() == several.address
    target, behind = _optimized(probe) if is_several else (0, b"")
    return probe.addr.value_(), int(probe.opcode) & 0xFF, target, behind


def _optimized(probe: Object) -> tuple[int, bytes]:
    # The probe that stands for those at one address may be made a jump (optimize_kprobe()).
    try:
        instruction = container_of(probe, "struct optimized_kprobe", "kp").optinsn
        behind = instruction.copied_insn.to_bytes_()
        target = instruction.insn.value_()
    except (FaultError, LookupError, AttributeError):
        return 0, b""
    return target, behind if len(behind) == _JUMP_SIZE - 1 else b""
