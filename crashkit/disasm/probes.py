"""What kprobes put over code, undone by what they keep of it.

A probe keeps the first byte of the instruction that its ``int3`` hides (``opcode`` of struct
kprobe); one that was made a jump keeps the four bytes after it, too (``copied_insn`` of struct
arch_optimized_insn, arch/x86/include/asm/kprobes.h). Execution does the original instruction
either way. Nothing is undone unless the dump's code is what that probe would have put there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from drgn import FaultError, Object, Program, container_of

from crashkit.symbols.lookup import find_symbol

_CACHE_KEY = "crashkit.probes"
_MOST_PROBES = 1 << 16
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
        try:
            found = sorted(_read(prog))
        except (FaultError, LookupError, AttributeError):
            found = []  # no kprobes, or not in the dump: an int3 then stays one
        prog.cache[_CACHE_KEY] = found
    return found


def _read(prog: Program) -> Iterator[Probe]:
    seen: set[int] = set()
    several = find_symbol(prog, "aggr_pre_handler")
    for head in prog["kprobe_table"]:
        node = head.first.read_()
        while node and node.value_() not in seen and len(seen) < _MOST_PROBES:
            seen.add(node.value_())
            probe = container_of(node, "struct kprobe", "hlist")
            is_several = several is not None and probe.pre_handler.value_() == several.address
            target, behind = _optimized(probe) if is_several else (0, b"")
            yield probe.addr.value_(), int(probe.opcode) & 0xFF, target, behind
            node = node.next.read_()


def _optimized(probe: Object) -> tuple[int, bytes]:
    # The probe that stands for those at one address may be made a jump (optimize_kprobe()).
    try:
        instruction = container_of(probe, "struct optimized_kprobe", "kp").optinsn
        behind = instruction.copied_insn.to_bytes_()
    except (LookupError, AttributeError):
        return 0, b""
    return instruction.insn.value_(), behind if len(behind) == _JUMP_SIZE - 1 else b""
