"""What a page of the direct map is used for, by its ``struct page``."""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.linux.mm import compound_head, page_to_pfn, virt_to_page

from crashkit.decode.address_regions import number, unnamed_errors
from crashkit.decode.fields import has_member, naming
from crashkit.value import facts

_ANON, _MOVABLE = 1, 2
"""Low bits of ``page->mapping`` (include/linux/page-flags.h, PAGE_MAPPING_ANON)."""
_MAX_ORDER = 11
_WORD = 0xFFFF_FFFF


@facts
class PageUse:
    """A page of memory."""

    pfn: int
    page: int
    """``struct page *`` of the page itself, not of its compound page."""
    use: str | None
    """``free``, ``anonymous`` or ``page cache``; None: the kernel's own, or not known."""
    order: int | None
    """Of the free block it is in."""


def page_use(prog: Program, address: int) -> PageUse:
    """Say what a page of the direct map is used for.

    :param address: in the direct map
    :raises Unavailable: its ``struct page`` is not in the dump, or no type is known
    """
    with naming(f"page of {address:#x}"), unnamed_errors(f"page of {address:#x}"):
        page = virt_to_page(prog, address)
        pfn = int(page_to_pfn(page).value_())
        order = _free_order(page, pfn)
        use = "free" if order is not None else _mapped_use(compound_head(page))
        return PageUse(pfn=pfn, page=int(page.value_()), use=use, order=order)


def _mapped_use(head: Object) -> str | None:
    if not has_member(head, "mapping"):
        return None
    mapping = int(head.mapping.value_())
    if mapping & _MOVABLE or not mapping:
        return None
    return "anonymous" if mapping & _ANON else "page cache"


def _free_order(page: Object, pfn: int) -> int | None:
    # Only the first page of a free block says so, and how large it is.
    marker = number(page.prog_, "PAGE_BUDDY_MAPCOUNT_VALUE")
    if marker is None or not has_member(page, "_mapcount"):
        return None
    for order in range(_MAX_ORDER):
        head = page - pfn % (1 << order)
        if _is_buddy(head, marker) and order <= int(head.private.value_()) < _MAX_ORDER:
            return int(head.private.value_())
    return None


def _is_buddy(page: Object, marker: int) -> bool:
    return int(page._mapcount.counter.value_()) & _WORD == marker & _WORD
