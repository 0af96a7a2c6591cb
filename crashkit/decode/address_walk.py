"""The way of an address through the page tables of a dump (x86-64)."""

from __future__ import annotations

from drgn import FaultError, Program

from crashkit.decode.address_regions import has_five_levels, is_canonical, number
from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_u64
from crashkit.value import facts

# Intel SDM volume 3, 4.5: the bits of an entry.
_PRESENT = 1 << 0
_WRITABLE = 1 << 1
_USER = 1 << 2
_LARGE = 1 << 7
_NO_EXECUTE = 1 << 63
_FRAME = ((1 << 52) - 1) & ~0xFFF
_LEVELS = (("pgd", 48), ("p4d", 39), ("pud", 30), ("pmd", 21), ("pte", 12))
"""The kernel's names of the levels and the lowest address bit of their index (5 levels)."""
_MAY_BE_LARGE = ("pud", "pmd")
_ENTRY = 8


@facts
class PageEntry:
    """One entry of a page table."""

    level: str
    """``pgd``, ``p4d``, ``pud``, ``pmd`` or ``pte``."""
    value: int

    @property
    def present(self) -> bool:
        """Whether the CPU follows it."""
        return bool(self.value & _PRESENT)


@facts
class PageWalk:
    """What the page tables say of an address."""

    address: int
    entries: tuple[PageEntry, ...]
    """From the top, down to the one that maps the page or is not present."""
    physical: int | None
    """None: not mapped."""
    page_size: int | None
    writable: bool
    executable: bool
    user: bool
    """User space may use it. The three are of all entries together, false if not mapped."""

    @property
    def present(self) -> bool:
        """Whether a page is mapped there."""
        return self.physical is not None

    def statement(self) -> str:
        """Say it in words."""
        last = self.entries[-1]
        if not self.present:
            state = "empty" if last.value == 0 else f"{last.value:#x}, not present"
            return f"no page is mapped at {self.address:#x}: the {last.level} entry is {state}"
        may = ("read-write" if self.writable else "read-only") + (
            ", executable" if self.executable else ", no-execute"
        )
        whose = "user" if self.user else "kernel"
        return f"a {whose} page is mapped at {self.address:#x}: {may} ({last.level})"

    def refuses(self, access: str | None) -> str | None:
        """Say why the kernel may not do ``access`` (read, write, exec); None: it may."""
        if not self.present:
            last = self.entries[-1]
            state = "empty" if last.value == 0 else f"not present ({last.value:#x})"
            return f"no page is mapped there: its {last.level} entry is {state}"
        if access == "write" and not self.writable:
            return f"the page is read-only ({self.entries[-1].level} {self.entries[-1].value:#x})"
        if access == "exec" and not self.executable:
            return f"the page is no-execute ({self.entries[-1].level} {self.entries[-1].value:#x})"
        if self.user:
            guard = "SMEP" if access == "exec" else "SMAP"
            return f"~ a page of user space is mapped there, which {guard} keeps the kernel from"
        return None


def walk_page_tables(prog: Program, address: int, *, pgd: int | None = None) -> PageWalk:
    """Follow an address through the page tables.

    :param pgd: address of the top table (``mm_struct.pgd``); by default ``init_mm``'s,
        which maps all kernel memory
    :raises Unavailable: an address that is not canonical, a table that is not in the dump,
        or not known how many levels there are
    """
    what = f"page tables of {address:#x}"
    five = has_five_levels(prog)
    if five is None:
        raise Unavailable(what, Reason.NOT_IN_DUMP, "VMCOREINFO does not say how many levels")
    if not is_canonical(prog, address):
        raise Unavailable(what, Reason.NOT_APPLICABLE, "not a canonical address")
    with naming(what):
        table = pgd or int(prog["init_mm"].pgd.value_())
    levels = _LEVELS if five else (("pgd", 39), *_LEVELS[2:])
    encrypted = number(prog, "sme_mask") or 0
    return _walk(prog, address, table, levels, _FRAME & ~encrypted)


def _walk(
    prog: Program, address: int, table: int, levels: tuple[tuple[str, int], ...], frame: int
) -> PageWalk:
    entries: list[PageEntry] = []
    for name, shift in levels:
        place = table + (address >> shift & 0x1FF) * _ENTRY
        value = _read(prog, place, physical=bool(entries))
        entries.append(PageEntry(level=name, value=value))
        is_last = name == "pte" or (name in _MAY_BE_LARGE and bool(value & _LARGE))
        if not value & _PRESENT or is_last:
            break
        table = value & frame
    return _result(address, tuple(entries), 1 << shift, frame)


def _read(prog: Program, place: int, *, physical: bool) -> int:
    if not physical:
        return read_u64(prog, place, "top page table")
    try:
        return int.from_bytes(prog.read(place, _ENTRY, True), "little")
    except FaultError as fault:
        what = f"page table at physical {place:#x}"
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault


def _result(address: int, entries: tuple[PageEntry, ...], size: int, frame: int) -> PageWalk:
    values = [entry.value for entry in entries]
    mapped = bool(values[-1] & _PRESENT)
    start = values[-1] & frame & ~(size - 1)
    return PageWalk(
        address=address,
        entries=entries,
        physical=start + address % size if mapped else None,
        page_size=size if mapped else None,
        writable=mapped and all(value & _WRITABLE for value in values),
        executable=mapped and not any(value & _NO_EXECUTE for value in values),
        user=mapped and all(value & _USER for value in values),
    )
