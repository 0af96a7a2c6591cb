"""The key by which equal stacks are found: the one abrt computes.

abrt (``abrt_koops_hash_str()`` with satyr's ``SR_DUPHASH_KOOPS_COMPAT``) takes the frames of
one oops in the order printed, leaves out those marked ``?``, and hashes the names of the
first six, each followed by a newline, with SHA-1. Names are taken as printed: clone
suffixes such as ``.isra.0`` stay. A ``RIP:`` line counts as the first frame only in the
form kernels before v4.11 print, with the address before the symbol; in the newer form
("RIP: 0010:symbol+0x...") satyr finds no frame there, and neither do we.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from crashkit.oops.trace import CodeLocation, TraceEntry, printed

FRAMES = 6
"""Frames that make the key."""


def stack_key(functions: Iterable[str]) -> str | None:
    """Hash the names of the first six frames; None where there are none.

    :returns: 40 hexadecimal digits
    """
    names = [name for name, _ in zip(functions, range(FRAMES), strict=False)]
    if not names:
        return None
    text = "".join(f"{name}\n" for name in names)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def key_functions(ip: CodeLocation | None, trace: Sequence[TraceEntry]) -> list[str]:
    """List the functions of a printed trace in the order that makes the key."""
    names = [entry.function for entry in printed(trace)]
    if names and ip is not None and ip.function and ip.address is not None:
        return [ip.function, *names]
    return names
