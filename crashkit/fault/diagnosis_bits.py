"""Whether a bad pointer is a good one with one bit changed."""

from __future__ import annotations

from drgn import Program, sizeof

from crashkit.decode.address_regions import is_canonical, region_at
from crashkit.decode.slab import slab_identity
from crashkit.errors import Unavailable
from crashkit.memory import is_kernel_address, read_u64
from crashkit.symbols import symbol_at
from crashkit.value import facts

_WORD = 8
_IMAGE = ("kernel-image", "modules")


@facts
class OneBit:
    """The one good pointer that differs from a value in one bit."""

    bit: int
    good: int
    words: str
    """What the good pointer is, and why that is no chance."""


def one_bit_off(
    prog: Program, value: int, *, place: int | None, ctype: str | None
) -> OneBit | None:
    """Flip each bit of a value and see whether exactly one gives a pointer that is surely good.

    Good is the start of an allocated slab object, the start of a symbol that the value is
    not near to, or a list node that points back to where the value was read from. That a
    page is mapped at the pointer is no ground.

    :param value: unsigned 64 bit, a pointer at which nothing is mapped
    :param place: address the value was read from
    :param ctype: its C type: an object that cannot hold what it points to is not good
    """
    found: list[OneBit] = []
    size = _pointee_size(prog, ctype)
    for bit in range(64):
        good = value ^ (1 << bit)
        if not is_kernel_address(good) or not is_canonical(prog, good):
            continue
        words = (
            _list_node(prog, good, place)
            or _slab_object(prog, good, size)
            or _symbol(prog, good, value)
        )
        if words is not None:
            found.append(OneBit(bit=bit, good=good, words=words))
        if len(found) > 1:
            return None
    return found[0] if found else None


def _pointee_size(prog: Program, ctype: str | None) -> int:
    if ctype is None or not ctype.rstrip().endswith("*"):
        return 1
    try:
        return int(sizeof(prog.type(ctype.rstrip()[:-1].strip())))
    except (LookupError, TypeError, SyntaxError):
        return 1  # a type without a size, such as void


def _list_node(prog: Program, good: int, place: int | None) -> str | None:
    if place is None:
        return None
    region = region_at(prog, good)
    if region is None:
        return None
    try:
        first, second = (read_u64(prog, good + at) for at in (0, _WORD))
    except Unavailable:
        return None
    # list_head.prev and hlist_node.pprev point back to a next; a prev is pointed to by next.
    if second == place or first == place - _WORD:
        return "a list node that points back to where the value was read from"
    return None


def _slab_object(prog: Program, good: int, size: int) -> str | None:
    region = region_at(prog, good)
    if region is None or region.kind != "direct-map":
        return None
    try:
        found = slab_identity(prog, good, aliases=False)
    except Unavailable:
        return None
    if not found.is_start or found.allocated is not True:
        return None
    name, room = found.cache_name or "", found.object_size or 0
    # kmalloc() takes the smallest cache that fits: twice the size at most.
    if room < size or (name.startswith("kmalloc-") and size > 1 and room > max(2 * size, 8)):
        return None
    return f"the start of an allocated slab object {found.cache_name or '?'}"


def _symbol(prog: Program, good: int, value: int) -> str | None:
    # Within the kernel's image every 16th address begins a function: no ground.
    here, there = region_at(prog, good), region_at(prog, value)
    if here is None or here.kind not in _IMAGE or (there is not None and there.kind in _IMAGE):
        return None
    symbol = symbol_at(prog, good)
    return f"the start of {symbol.name}" if symbol and symbol.address == good else None
