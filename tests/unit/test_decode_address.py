"""What an address is: parts of the address space, page tables, and each kind of thing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from drgn import FaultError, Object, Program
from drgn.helpers.linux.common import IdentifiedTaskStack, IdentifiedVmap
from drgn.helpers.linux.slab import SlabObjectInfo

from crashkit.decode import address as address_module
from crashkit.decode import classify_address, identity, walk_page_tables
from crashkit.decode.address_facts import AddressFacts
from crashkit.decode.address_modules import last_unloaded_module, unloaded_tainting_modules
from crashkit.decode.address_pages import PageUse
from crashkit.decode.address_regions import is_canonical, region_at, region_named, regions
from crashkit.decode.address_stacks import CpuStack, VmArea, freed_area_at
from crashkit.errors import Reason, Unavailable
from crashkit.symbols.lookup import ModuleRange, names_of
from tests.unit.kernel_doubles import Kernel, list_of

DIRECT = 0xFFFF_8D1B_0000_0000
VMALLOC = 0xFFFF_D3A2_0000_0000
VMEMMAP = 0xFFFF_F8FB_C000_0000
MODULES = 0xFFFF_FFFF_C000_0000
NOTE = (
    "NUMBER(pgtable_l5_enabled)={five}\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\nNUMBER(sme_mask)=0\n"
)


def kernel_with(note: str = NOTE.format(five=0), **variables: int) -> Kernel:
    kernel = Kernel()
    raw = note.encode() + b"\0"
    kernel.put(kernel.variable("VMCOREINFO", f"char [{len(raw)}]").value_(), raw)
    for name, value in (
        {"max_pfn": 0x9FE0, "vmalloc_base": VMALLOC, "vmemmap": VMEMMAP} | variables
    ).items():
        kernel.variable(name, "unsigned long", value)
    kernel.struct("page", 64, ("flags", "unsigned long", 0))
    kernel.struct("cpu_entry_area", 8, ("gdt", "long", 0))
    return kernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = kernel_with()
    name = "crashkit.decode.address_regions.pfn_to_virt"
    monkeypatch.setattr(name, lambda prog, _pfn: Object(prog, "unsigned long", DIRECT))
    nothing(monkeypatch)
    return made


def nothing(monkeypatch: pytest.MonkeyPatch, *found: object) -> None:
    monkeypatch.setattr(address_module, "identify_address_all", lambda *_args, **_more: iter(found))


def test_parts_of_the_address_space(kernel: Kernel) -> None:
    prog = kernel.prog
    found = regions(prog)
    assert [region.start for region in found] == sorted(region.start for region in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    for address, kind in (
        (0x7FFF_0000_1000, "user"), (DIRECT, "direct-map"), (DIRECT + 0x9FE0000 - 1, "direct-map"),
        (VMALLOC + (1 << 40), "vmalloc"), (VMEMMAP + 64 * 0x9FDF, "vmemmap"),
        (0xFFFF_FE00_0000_1000, "cpu-entry-area"), (0xFFFF_FFFF_8000_0000, "kernel-image"),
        (MODULES, "modules"), (0xFFFF_FFFF_FEFF_FFFF, "modules"), (0xFFFF_FFFF_FF5F_D000, "fixmap"),
    ):  # fmt: skip
        region = region_at(prog, address)
        assert (region and region.kind) == kind, hex(address)
    for hole in (DIRECT + 0x9FE0000, VMEMMAP + 64 * 0x9FE0, VMALLOC + (33 << 40), 0x8000_0000_0000):
        assert region_at(prog, hole) is None


def test_parts_that_nothing_tells_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_with("", max_pfn=1 << 45)
    kernel.forget("vmalloc_base", "cpu_entry_area")
    assert {region.kind for region in regions(kernel.prog)} == {"user", "espfix", "efi", "fixmap"}
    assert region_named(kernel.prog, "modules") is None
    assert {region.kind for region in regions(Program())} >= {"user"}


@pytest.mark.parametrize(
    ("note", "accepted"),
    [(NOTE.format(five=0), False), (NOTE.format(five=1), True), ("", True)],
)
def test_canonical_by_the_number_of_levels(note: str, accepted: bool) -> None:
    prog = kernel_with(note).prog
    assert is_canonical(prog, 0xFF11_0000_0000_0000) is accepted
    assert is_canonical(prog, DIRECT)
    assert not is_canonical(prog, 0x6B6B_6B6B_6B6B_6B6B)


class Tables:
    """Page tables in physical memory."""

    def __init__(self, kernel: Kernel) -> None:
        self.words: dict[int, int] = {}
        self.kernel = kernel
        self.root = kernel.allocate("unsigned long [512]").value_()
        kernel.struct("mm_struct", 8, ("pgd", "unsigned long *", 0))
        kernel.variable("init_mm", "struct mm_struct")
        kernel.set(kernel.prog["init_mm"].address_of_(), {"pgd": self.root})
        kernel.prog.add_memory_segment(0, 1 << 40, self.read, True)

    def read(self, address: int, count: int, _offset: int, _physical: bool) -> bytes:
        if address not in self.words:
            raise FaultError("not saved", address)
        return self.words[address].to_bytes(8, "little")[:count]

    def map(self, address: int, *entries: int) -> None:
        """Write the entries of an address, top first; each names the next table."""
        shifts = (39, 30, 21, 12)
        table = self.root
        for shift, entry in zip(shifts, entries, strict=False):
            place = table + (address >> shift & 0x1FF) * 8
            if shift == 39:
                self.kernel.put(place, entry.to_bytes(8, "little"))
            else:
                self.words[place] = entry
            table = entry & 0xF_FFFF_FFFF_F000


def test_a_mapped_page(kernel: Kernel) -> None:
    tables = Tables(kernel)
    tables.map(DIRECT, 0x1003, 0x2003, 0x3003, (1 << 63) | 0x7654_3001)
    walk = walk_page_tables(kernel.prog, DIRECT + 0x123)
    assert (walk.physical, walk.page_size) == (0x7654_3123, 4096)
    assert [entry.level for entry in walk.entries] == ["pgd", "pud", "pmd", "pte"]
    assert (walk.writable, walk.executable, walk.user) == (False, False, False)
    assert walk.refuses("read") is None
    assert "read-only" in (walk.refuses("write") or "")
    assert "no-execute" in (walk.refuses("exec") or "")
    assert "read-only, no-execute (pte)" in walk.statement()


def test_a_large_page_and_a_users(kernel: Kernel) -> None:
    tables = Tables(kernel)
    tables.map(0x4000_0000, 0x1007, 0x2007, 0x80_00E7)
    walk = walk_page_tables(kernel.prog, 0x4000_0000 + 0x12_3456)
    assert (walk.physical, walk.page_size, walk.user) == (0x80_0000 + 0x12_3456, 2 << 20, True)
    assert "SMAP" in (walk.refuses("read") or "")
    assert "SMEP" in (walk.refuses("exec") or "")


def test_nothing_mapped_says_at_which_level(kernel: Kernel) -> None:
    tables = Tables(kernel)
    assert "pgd entry is empty" in (walk_page_tables(kernel.prog, VMALLOC).refuses("read") or "")
    tables.map(VMALLOC, 0x1003, 0x2003, 0x8000_0000_0000_0002)
    walk = walk_page_tables(kernel.prog, VMALLOC)
    assert not walk.present
    assert "pmd entry is not present (0x8000000000000002)" in (walk.refuses("read") or "")


def test_tables_that_cannot_be_followed(kernel: Kernel) -> None:
    tables = Tables(kernel)
    tables.map(VMALLOC, 0x1003)
    for prog, address, reason in (
        (kernel.prog, VMALLOC, Reason.NOT_IN_DUMP),
        (kernel.prog, 0x6B6B_6B6B_6B6B_6B6B, Reason.NOT_APPLICABLE),
        (kernel_with("").prog, VMALLOC, Reason.NOT_IN_DUMP),
    ):
        with pytest.raises(Unavailable) as caught:
            walk_page_tables(prog, address)
        assert caught.value.reason is reason


def kind(kernel: Kernel, address: int) -> tuple[str, str]:
    facts = classify_address(kernel.prog, address)
    assert facts.address == address
    return facts.kind, facts.words


def test_addresses_that_are_nothing(kernel: Kernel) -> None:
    assert kind(kernel, 0x6B6B_6B6B_6B6B_6B6B)[0] == "non-canonical"
    assert kind(kernel, 0x7FFF_0000_1000)[0] == "user"
    assert kind(kernel, MODULES + 0x1000)[0] == "module-hole"
    assert kind(kernel, VMALLOC + 0x1000)[0] == "vmalloc-hole"
    assert kind(kernel, DIRECT + 0x9FE0000)[0] == "hole"
    for address in (0xA30, VMALLOC, DIRECT + 0x9FE0000):
        assert identity.identify(kernel.prog, address) is None


def test_what_identification_does_not_survive(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    def fails(*_args: object, **_more: object) -> Any:
        raise FaultError("page not saved", 0)

    monkeypatch.setattr(address_module, "identify_address_all", fails)
    assert kind(kernel, MODULES + 0x1000)[0] == "module-hole"
    kernel.symbol("helper", MODULES + 0x2000, 0x100)
    names_of(kernel.prog).modules = [
        ModuleRange(
            name="kinds", ranges=((MODULES + 0x2000, MODULES + 0x3000),), object_address=0,
            build_id=None,
        )
    ]  # fmt: skip
    assert kind(kernel, MODULES + 0x2010) == ("module", "helper+0x10")


def test_symbols_have_sections(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    from drgn.helpers.common.memory import IdentifiedSymbol

    for name, address in (
        ("_stext", 0x8100_0000),
        ("_etext", 0x8110_0000),
        ("schedule", 0x8100_1000),
    ):
        kernel.symbol(name, 0xFFFF_FFFF_0000_0000 + address, 0x100)
    symbol = kernel.prog.symbol("schedule")
    nothing(monkeypatch, IdentifiedSymbol(symbol.address + 5, symbol))
    facts = classify_address(kernel.prog, symbol.address + 5)
    assert (facts.kind, facts.section, facts.words) == ("symbol", "text", "schedule+0x5")


def task(kernel: Kernel, stack: int) -> Object:
    kernel.struct(
        "task_struct", 64, ("stack", "void *", 0), ("pid", "int", 8), ("comm", "char [16]", 16),
        ("stack_vm_area", "void *", 32),
    )  # fmt: skip
    found = kernel.allocate("struct task_struct", stack=stack, pid=312)
    kernel.set(found, {"comm": b"ba\x1bsh\0"})
    return found


def test_stacks_and_the_page_below(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    stack = VMALLOC + 0x8000
    found = IdentifiedTaskStack(stack + 0x10, task(kernel, stack))
    nothing(monkeypatch, found)
    assert kind(kernel, stack + 0x10) == ("stack", "stack of task 312 (ba\\x1bsh)")

    def above(_prog: Program, address: int, **_more: object) -> Any:
        return iter([found] if address >= stack else [])

    area = VmArea(start=stack, end=stack + 0x5000, mapped_end=stack + 0x4000, caller=None)
    monkeypatch.setattr(address_module, "identify_address_all", above)
    monkeypatch.setattr(
        address_module, "vm_area_at", lambda _p, address: area if address >= stack else None
    )
    assert kind(kernel, stack - 8) == (
        "stack-guard", "guard page below the stack of task 312 (ba\\x1bsh)",
    )  # fmt: skip
    assert kind(kernel, stack - 0x1008)[0] == "vmalloc-hole"


@pytest.mark.parametrize(
    ("crashed", "stack_below", "expected"),
    [(0, False, "vmalloc-guard"),  # a buffer of that area was overrun
     (VMALLOC + 0x8000, False, "stack-guard"), (0, True, "stack-guard")],
)  # fmt: skip
def test_the_page_between_an_area_and_a_stack(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel, crashed: int, stack_below: bool, expected: str
) -> None:
    stack = VMALLOC + 0x8000
    found = IdentifiedTaskStack(stack, task(kernel, stack))
    pointer = Object(kernel.prog, "void *", VMALLOC)
    lower = IdentifiedTaskStack(
        stack - 0x2000, kernel.allocate("struct task_struct", stack=stack - 0x2000, pid=7)
    )
    monkeypatch.setattr(address_module, "_crashed_stack", lambda _prog: crashed)

    def both(_prog: Program, address: int, **_more: object) -> Any:
        if stack_below and address == stack - 0x2000:
            return iter([lower])
        return iter([found if address >= stack else IdentifiedVmap(address, pointer, pointer)])

    def area(_prog: Program, address: int) -> VmArea:
        start = stack if address >= stack else stack - 0x2000
        return VmArea(start=start, end=stack, mapped_end=stack - 0x1000, caller=None)

    monkeypatch.setattr(address_module, "identify_address_all", both)
    for module in ("address", "address_facts"):
        monkeypatch.setattr(f"crashkit.decode.{module}.vm_area_at", area)
    assert kind(kernel, stack - 8)[0] == expected
    if not stack_below:
        assert kind(kernel, stack - 0x1008)[0] == "vmalloc"


@pytest.mark.parametrize(
    ("at", "expected"),
    [(0x10, ("vmalloc", "vmalloc area of alloc_big")),
     (0x4010, ("vmalloc-guard",
               "guard page right past the end of the vmalloc area of alloc_big (16384 bytes)"))],
)  # fmt: skip
def test_vmalloc_areas(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel, at: int, expected: tuple[str, str]
) -> None:
    facts = "crashkit.decode.address_facts."
    kernel.symbol("alloc_big", 0xFFFF_FFFF_8100_0000, 0x100)
    area = VmArea(
        start=VMALLOC, end=VMALLOC + 0x5000, mapped_end=VMALLOC + 0x4000,
        caller=0xFFFF_FFFF_8100_0010,
    )  # fmt: skip
    pointer = Object(kernel.prog, "void *", VMALLOC)
    nothing(monkeypatch, IdentifiedVmap(VMALLOC + at, pointer, pointer))
    monkeypatch.setattr(facts + "vm_area_at", lambda _prog, _address: area)
    monkeypatch.setattr(facts + "cpu_stack_at", lambda _prog, _address: None)
    assert kind(kernel, VMALLOC + at) == expected


def test_a_cpus_stacks(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    base = 0xFFFF_FE00_0000_8000
    stacks = [
        CpuStack(start=base, end=base + 0x1000, cpu=1, name="DF", guard=True),
        CpuStack(start=base + 0x1000, end=base + 0x3000, cpu=1, name="DF"),
    ]
    kernel.prog.cache["crashkit.cpu_stacks"] = tuple(stacks)
    assert kind(kernel, base + 8) == ("stack-guard", "guard page of the DF stack of CPU 1")
    assert kind(kernel, base + 0x1008) == ("cpu-stack", "DF stack of CPU 1")
    assert kind(kernel, base + 0x4000)[0] == "cpu-entry-area"


@pytest.mark.parametrize(
    ("use", "words"), [("free", "free page, pfn 0x10"), (None, "memory, pfn 0x10")]
)
def test_pages(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel, use: str | None, words: str
) -> None:
    found = PageUse(pfn=0x10, page=VMEMMAP + 0x400, use=use, order=None)
    monkeypatch.setattr(address_module, "page_use", lambda _prog, _address: found)
    assert kind(kernel, DIRECT + 0x1_0008) == ("page", words)
    shown = identity.identify(kernel.prog, DIRECT + 0x1_0008)
    assert shown == (words if use else None)


def test_a_slab_object_of_a_merged_cache(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    from drgn.helpers.linux.common import IdentifiedSlabObject

    kernel.struct(
        "kmem_cache", 64, ("name", "char *", 0), ("object_size", "u32", 8), ("refcount", "int", 12)
    )
    cache = kernel.allocate("struct kmem_cache", object_size=64, refcount=2)
    text = kernel.allocate("unsigned char [16]").value_()
    kernel.put(text, b"kmalloc-64\0")
    kernel.set(cache, {"name": text})
    kernel.prog.cache["crashkit.slab_aliases"] = {cache.value_(): ("lease",)}
    info = SlabObjectInfo(cache, cache, DIRECT + 0x40, False)
    nothing(monkeypatch, IdentifiedSlabObject(DIRECT + 0x48, info))
    facts = classify_address(kernel.prog, DIRECT + 0x48)
    assert (facts.kind, facts.words) == ("slab", "free slab object kmalloc-64+0x8")
    assert facts.slab is not None
    assert facts.slab.aliases == ("lease",)
    quick = classify_address(kernel.prog, DIRECT + 0x48, aliases=False)
    assert quick.slab is not None
    assert quick.slab.aliases is None
    kernel.set(cache, {"refcount": 1})
    alone = classify_address(kernel.prog, DIRECT + 0x48, aliases=False)
    assert alone.slab is not None
    assert alone.slab.aliases == ()


def test_a_slab_without_a_cache(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    from drgn.helpers.linux.common import IdentifiedSlabObject

    kernel.struct("kmem_cache", 64, ("name", "char *", 0))
    nowhere = Object(kernel.prog, "struct kmem_cache *", 0)
    info = SlabObjectInfo(nowhere, nowhere, DIRECT + 0x40, True)
    nothing(monkeypatch, IdentifiedSlabObject(DIRECT + 0x48, info))
    assert kind(kernel, DIRECT + 0x48)[0] == "page"


def test_modules_that_are_gone(kernel: Kernel) -> None:
    assert last_unloaded_module(kernel.prog) is None
    name = kernel.allocate("char [64]").value_()
    kernel.symbol("last_unloaded_module", name, 64)
    assert last_unloaded_module(kernel.prog) is None
    kernel.put(name, b"kinds\x1b\0(OE)")
    assert last_unloaded_module(kernel.prog) == "kinds\\x1b"
    assert unloaded_tainting_modules(kernel.prog) == ()
    kernel.struct(
        "list_head", 16, ("next", "struct list_head *", 0), ("prev", "struct list_head *", 8)
    )
    kernel.struct(
        "mod_unload_taint", 80, ("list", "struct list_head", 0), ("name", "char [56]", 16)
    )
    head = kernel.allocate("struct list_head")
    kernel.symbol("unloaded_tainted_modules", head.value_(), 16)
    gone = kernel.allocate("struct mod_unload_taint")
    kernel.set(gone, {"name": b"plugin\0"})
    list_of(kernel, head, "list", gone)
    assert unloaded_tainting_modules(kernel.prog) == ("plugin",)
    kernel.put(gone.value_(), (0xFFFF_9000_0000_0000).to_bytes(8, "little"))
    assert unloaded_tainting_modules(kernel.prog) == ("plugin",)


def test_an_area_that_waits_to_be_given_back(kernel: Kernel) -> None:
    kernel.struct(
        "rb_node", 24, ("__rb_parent_color", "unsigned long", 0),
        ("rb_right", "struct rb_node *", 8), ("rb_left", "struct rb_node *", 16),
    )  # fmt: skip
    kernel.struct("rb_root", 8, ("rb_node", "struct rb_node *", 0))
    kernel.struct(
        "vmap_area", 64, ("va_start", "unsigned long", 0), ("va_end", "unsigned long", 8),
        ("rb_node", "struct rb_node", 16),
    )  # fmt: skip
    root = kernel.allocate("struct rb_root")
    area = kernel.allocate("struct vmap_area", va_start=VMALLOC, va_end=VMALLOC + 0x2000)
    kernel.set(root, {"rb_node": area.value_() + 16})
    kernel.symbol("purge_vmap_area_root", root.value_(), 8)
    assert freed_area_at(kernel.prog, VMALLOC + 0x1008) == (VMALLOC, VMALLOC + 0x2000)
    assert freed_area_at(kernel.prog, VMALLOC + 0x2000) is None
    kernel.set(area, {"rb_node.rb_left": area.value_() + 16})
    assert freed_area_at(kernel.prog, VMALLOC - 0x1000) is None


def test_facts_are_said_without_a_dump() -> None:
    facts = classify_address(Program(), DIRECT)
    assert isinstance(facts, AddressFacts)
    assert facts.kind == "hole"
