"""Breakpoints that the kernel itself has in its code: kprobes, and code it is just rewriting."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Object, Program, container_of

from crashkit.errors import Reason, Unavailable
from crashkit.symbols.lookup import find_symbol
from crashkit.symbols.patch_sites import PatchSite

_CACHE_KEY = "crashkit.breakpoints"
_MOST_PROBES = 1 << 16
_MOST_POKES = 4096
_INT3, _JUMP = 0xCC, 0xE9
_JUMP_SIZE = 5
_REWRITTEN = "code being rewritten"
_TABLE = "the table of kprobes"


def breakpoint_at(prog: Program, address: int, code: bytes) -> PatchSite | None:
    """Find the kernel's own reason for a breakpoint, or for the jump of an optimized kprobe.

    :param address: of a byte that differs from the kernel's file
    :param code: the bytes of the dump up to that one, and that one, last
    :returns: None where the kernel has none there
    :raises Unavailable: what would tell is not in the dump
    """
    reasons = _reasons(prog)
    if isinstance(reasons, Unavailable):
        raise reasons
    for back in range(min(_JUMP_SIZE, len(code))):
        by, first = reasons.get(address - back), code[-1 - back]
        size = _JUMP_SIZE if first == _JUMP or by == _REWRITTEN else 1
        if by is not None and first in (_INT3, _JUMP) and back < size:
            return PatchSite(address - back, address - back + size, by)
    return None


def _reasons(prog: Program) -> dict[int, str] | Unavailable:
    # Address to what put a breakpoint there.
    found: dict[int, str] | Unavailable | None = prog.cache.get(_CACHE_KEY)
    if found is None:
        try:
            found = {int(probe.addr): "kprobe" for probe in registered_probes(prog)}
            found |= dict.fromkeys(_poked(prog), _REWRITTEN)
        except Unavailable as missing:
            found = missing
        prog.cache[_CACHE_KEY] = found
    return found


def registered_probes(prog: Program) -> Iterator[Object]:
    """Yield each ``struct kprobe *`` of the kernel's hash table (kernel/kprobes.c).

    All of each can be read.

    :raises Unavailable: the table is damaged or not in the dump
    """
    if find_symbol(prog, "kprobe_table") is None:
        return  # a kernel without them
    seen: set[int] = set()
    try:
        for head in prog["kprobe_table"]:
            node = head.first.read_()
            while node:
                if node.value_() in seen or len(seen) >= _MOST_PROBES:
                    raise Unavailable(_TABLE, Reason.CORRUPTED, "a chain of it has no end")
                seen.add(node.value_())
                probe = container_of(node, "struct kprobe", "hlist")
                node = probe[0].read_().hlist.next
                yield probe
    except FaultError as fault:
        raise Unavailable(_TABLE, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, AttributeError) as unknown:
        raise Unavailable(_TABLE, Reason.NO_DEBUGINFO, str(unknown)) from unknown


def _poked(prog: Program) -> Iterator[int]:
    # text_poke_bp_batch() writes int3 first (arch/x86/kernel/alternative.c): one batch at a
    # time, whose places count from _stext; nobody refers to it when it is done.
    stext = find_symbol(prog, "_stext")
    if stext is None or find_symbol(prog, "bp_desc") is None:
        return
    try:
        batch = prog["bp_desc"].read_()
        count = int(batch.nr_entries) if int(batch.refs.counter) > 0 else 0
        for entry in range(min(max(count, 0), _MOST_POKES)):
            yield stext.address + int(batch.vec[entry].rel_addr)
    except FaultError as fault:
        raise Unavailable(_REWRITTEN, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, AttributeError):
        return  # a kernel that keeps it elsewhere: its sites are known by its own tables
