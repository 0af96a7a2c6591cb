"""What the parts of the address space are for, as far as a dump says where they lie.

The bases that address randomisation moves are the kernel's own variables. The parts that no
build moves are those of Documentation/arch/x86/x86_64/mm.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drgn import FaultError, Program, sizeof
from drgn.helpers.linux.mm import pfn_to_virt

from crashkit.errors import Reason, Unavailable
from crashkit.memory import U64_MAX
from crashkit.target.vmcoreinfo import VmcoreInfo, parse
from crashkit.value import facts

_KERNEL_IMAGE = 0xFFFF_FFFF_8000_0000
"""__START_KERNEL_map, where the kernel's image is mapped."""
_MODULES_END = 0xFFFF_FFFF_FF00_0000
_FIXMAP_END = 0xFFFF_FFFF_FF80_0000
_FIXED = (
    ("cpu-entry-area", 0xFFFF_FE00_0000_0000, 0xFFFF_FE80_0000_0000),
    ("espfix", 0xFFFF_FF00_0000_0000, 0xFFFF_FF80_0000_0000),
    ("efi", 0xFFFF_FFEF_0000_0000, 0xFFFF_FFFF_0000_0000),
    ("fixmap", _MODULES_END, _FIXMAP_END),
)
_VMALLOC_BYTES = {False: 32 << 40, True: 12800 << 40}
"""By five-level paging (arch/x86/include/asm/pgtable_64_types.h, VMALLOC_SIZE_TB)."""
_MAX_PHYSICAL = 1 << 52
_CACHE_KEY = "crashkit.regions"


@facts
class Region:
    """A part of the address space."""

    kind: str
    """``user``, ``direct-map``, ``vmalloc``, ``vmemmap``, ``cpu-entry-area``, ``espfix``,
    ``efi``, ``kernel-image``, ``modules`` or ``fixmap``."""
    start: int
    end: int
    """One past the last byte."""


@contextmanager
def unnamed_errors(what: str) -> Iterator[None]:
    """Turn the errors that libdrgn has no class for into a reason for ``what``.

    It raises ``Exception`` itself, e.g. where it cannot tell where the direct map begins.

    :raises Unavailable: reason ``unsupported``
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise Unavailable(what, Reason.UNSUPPORTED, str(error)) from error


def vmcoreinfo(prog: Program) -> VmcoreInfo:
    """Return the kernel's note about itself; empty where the dump has none."""
    cached = prog.cache.get("crashkit.vmcoreinfo")
    if not isinstance(cached, VmcoreInfo):
        try:
            cached = parse(prog["VMCOREINFO"].string_())
        except (FaultError, LookupError):
            cached = VmcoreInfo()
        prog.cache["crashkit.vmcoreinfo"] = cached
    return cached


def number(prog: Program, name: str) -> int | None:
    """Give a ``NUMBER(name)`` of VMCOREINFO; None where it has none."""
    try:
        return vmcoreinfo(prog).number(name)
    except Unavailable:
        return None


def has_five_levels(prog: Program) -> bool | None:
    """Whether the page tables have five levels; None: not known."""
    found = number(prog, "pgtable_l5_enabled")
    return None if found is None else bool(found)


def is_canonical(prog: Program, address: int) -> bool:
    """Whether the CPU accepts the address, with the paging of this dump.

    Intel SDM volume 1, 3.3.7.1. Where the number of levels is not known, five are taken.
    """
    bits = 48 if has_five_levels(prog) is False else 57
    return address >> (bits - 1) in (0, (1 << (65 - bits)) - 1)


def regions(prog: Program) -> tuple[Region, ...]:
    """List the parts of the address space whose place is known, lowest first."""
    cached: tuple[Region, ...] | None = prog.cache.get(_CACHE_KEY)
    if cached is None:
        five = has_five_levels(prog) is not False
        found = [("user", 0, 1 << (56 if five else 47))]
        found += [*_direct_map(prog), *_vmemmap(prog), *_vmalloc(prog), *_image(prog)]
        found += [row for row in _FIXED if row[0] != "cpu-entry-area" or _has_entry_area(prog)]
        cached = prog.cache[_CACHE_KEY] = tuple(
            Region(kind=kind, start=start, end=end)
            for kind, start, end in sorted(found, key=lambda row: row[1])
            if start < end <= U64_MAX + 1
        )
    return cached


def region_at(prog: Program, address: int) -> Region | None:
    """Find the part of the address space that holds an address; None: a hole, or not known."""
    found = (region for region in regions(prog) if region.start <= address < region.end)
    return next(found, None)


def region_named(prog: Program, kind: str) -> Region | None:
    """Find a part by its kind; None where its place is not known."""
    return next((region for region in regions(prog) if region.kind == kind), None)


_Rows = list[tuple[str, int, int]]


def _variable(prog: Program, name: str) -> int | None:
    try:
        return int(prog[name].value_())
    except (FaultError, LookupError):
        return None


def _direct_map(prog: Program) -> _Rows:
    pages = _variable(prog, "max_pfn")
    try:
        with unnamed_errors("direct map"):
            start = int(pfn_to_virt(prog, 0).value_())
    except (FaultError, LookupError, NotImplementedError, Unavailable):
        return []
    if pages is None or pages << 12 > _MAX_PHYSICAL:
        return []
    return [("direct-map", start, start + (pages << 12))]


def _vmemmap(prog: Program) -> _Rows:
    pages = _variable(prog, "max_pfn")
    start = _variable(prog, "vmemmap")
    if start is None or pages is None or pages << 12 > _MAX_PHYSICAL:
        return []
    return [("vmemmap", start, start + pages * sizeof(prog.type("struct page")))]


def _vmalloc(prog: Program) -> _Rows:
    start = _variable(prog, "vmalloc_base")
    if start is None:
        start = number(prog, "VMALLOC_START")
        start = None if start is None else start & U64_MAX
    five = has_five_levels(prog)
    if start is None or five is None:
        return []
    above = _variable(prog, "vmemmap") or U64_MAX
    end = start + _VMALLOC_BYTES[five]
    return [("vmalloc", start, min(end, above) if above > start else end)]


def _image(prog: Program) -> _Rows:
    # MODULES_VADDR is __START_KERNEL_map + KERNEL_IMAGE_SIZE
    # (arch/x86/include/asm/pgtable_64_types.h); VMCOREINFO has the size
    # (Documentation/admin-guide/kdump/vmcoreinfo.rst).
    size = number(prog, "KERNEL_IMAGE_SIZE")
    if size is None or not 0 < size < _MODULES_END - _KERNEL_IMAGE:
        return []
    middle = _KERNEL_IMAGE + size
    return [("kernel-image", _KERNEL_IMAGE, middle), ("modules", middle, _MODULES_END)]


def _has_entry_area(prog: Program) -> bool:
    try:
        prog.type("struct cpu_entry_area")
    except LookupError:
        return False
    return True
