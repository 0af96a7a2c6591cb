"""What an address is, in a few words: ``init_net``, ``slab object nf_conntrack``."""

from __future__ import annotations

from drgn import Program

from crashkit.decode.address import classify_address
from crashkit.memory import is_kernel_address

_NOTHING = frozenset({"non-canonical", "user", "hole", "vmalloc-hole", "kernel-image"})
"""Kinds that say what an address is not."""


def identify(prog: Program, address: int) -> str | None:
    """Say what an address is; None when nothing is known about it.

    :param address: unsigned 64 bit
    """
    if not is_kernel_address(address):
        return None
    facts = classify_address(prog, address, aliases=False)
    if facts.kind in _NOTHING or (facts.kind == "page" and facts.use is None):
        return None
    return facts.words
