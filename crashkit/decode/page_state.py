"""A ``struct page`` as the check of a free page sees it."""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.linux.mm import pfn_to_page

from crashkit.decode.fields import Absent, Fields, has_member, naming
from crashkit.decode.identity import identify
from crashkit.decode.memory_slabs import flag_names, flag_words
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_MAX_PFN = 1 << 40
_KIND_BITS = 3
_MAPPING = {1: "anonymous memory", 2: "a movable page", 3: "KSM"}


@facts
class PageState:
    """One ``struct page``. A None field has its reason in ``absent``."""

    pfn: int
    page: int
    """``struct page *``."""
    flags: int | None
    """Without the bits that hold node, zone and section."""
    flag_names: str | None
    """By the kernel's own table."""
    refcount: int | None
    mapcount: int | None
    """``_mapcount`` as stored plus 1: 0 is unmapped; below 0 it is a page type."""
    mapping: int | None
    mapping_identity: str | None
    """What ``mapping`` leads to."""
    absent: Absent


def read_page(prog: Program, pfn: int) -> PageState:
    """Read the ``struct page`` of a page frame.

    :raises Unavailable: nothing of it is in the dump
    """
    what = f"struct page of pfn {pfn:#x}"
    if not 0 <= pfn < _MAX_PFN:
        raise Unavailable(what, Reason.CORRUPTED, "no such page frame")
    with naming(what):
        page = pfn_to_page(prog, pfn)
    fields = Fields(what)
    flags = fields.take("flags", lambda: _flags(page))
    mapping = fields.number("mapping", page, "mapping")
    return PageState(
        pfn=pfn,
        page=int(page.value_()),
        flags=flags,
        flag_names=None if flags is None else fields.take("flag_names", lambda: _names(page)),
        refcount=fields.take("refcount", lambda: int(page._refcount.counter.value_())),
        mapcount=fields.take("mapcount", lambda: int(page._mapcount.counter.value_()) + 1),
        mapping=mapping,
        mapping_identity=_mapping(prog, mapping),
        absent=fields.reasons(),
    )


def _flags(page: Object) -> int:
    # A struct since Linux kernel commit 53fbef56e07d ("mm: introduce memdesc_flags_t") (in v6.18).
    flags = page.flags.f if has_member(page.flags, "f") else page.flags
    return int(flags.value_()) & ((1 << _number_of_flags(page.prog_)) - 1)


def _number_of_flags(prog: Program) -> int:
    # enum pageflags: the bits above hold section, node and zone.
    return int(prog.constant("__NR_PAGEFLAGS").value_())


def _names(page: Object) -> str:
    value = _flags(page)
    return flag_words(value, flag_names(page.prog_, "pageflag_names")) if value else "none"


def _mapping(prog: Program, mapping: int | None) -> str | None:
    # include/linux/page-flags.h: PAGE_MAPPING_ANON, PAGE_MAPPING_MOVABLE
    if not mapping:
        return None
    kind = _MAPPING.get(mapping & _KIND_BITS)
    found = identify(prog, mapping & ~_KIND_BITS)
    return ", ".join(words for words in (kind, found) if words) or None
