"""What memory adds to a diagnosis: freed, unmapped, one bit off, and its evidence."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from drgn import FaultError, Program

from crashkit.decode.address_facts import AddressFacts
from crashkit.decode.slab import SlabIdentity
from crashkit.decode.slab_damage import LostList
from crashkit.decode.slab_hidden import HiddenPointer
from crashkit.decode.slab_place import FreePlace
from crashkit.errors import Reason, Unavailable
from crashkit.fault.diagnosis import BadValue, diagnose
from crashkit.fault.diagnosis_bits import one_bit_off
from crashkit.fault.diagnosis_memory import diagnose_in_memory
from tests.unit.diagnosis_doubles import (
    DIRECT,
    OBJECT,
    PARTS,
    PLACE,
    WILD,
    Memory,
    link,
    page,
    slab_object,
)
from tests.unit.kernel_doubles import Kernel


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    made = Memory(monkeypatch)
    made.facts[PLACE] = slab_object(PLACE, PLACE - 0x30)
    return made


ON_CPU = FreePlace(kind="cpu", words="the free list of CPU 1", number=1)


def test_a_pointer_to_a_free_object(memory: Memory) -> None:
    value = OBJECT + 0x10
    memory.facts[value] = slab_object(value, OBJECT)
    memory.free[OBJECT] = ON_CPU
    found = memory.diagnose(value, at=value)
    assert found.kind == "freed-object"
    assert (
        f"0x10 bytes into slab object kmalloc-96 at {OBJECT:#x}, which is free" in found.statement
    )
    assert "the object is free: the free list of CPU 1 has it" in found.evidence
    expected: Mapping[str, int | str | None] = {
        "object": f"{OBJECT:#x}", "cache": "kmalloc-96", "free_list": "cpu",
        "read_from": f"{PLACE:#x}",
    }  # fmt: skip
    assert expected.items() <= found.details.items()


def test_a_corrupted_free_list_is_said_and_proves_nothing(memory: Memory) -> None:
    memory.facts[OBJECT] = slab_object(OBJECT, OBJECT)
    memory.free[OBJECT] = Unavailable("free list of a slab", Reason.CORRUPTED, "begins at 0x41")
    found = memory.diagnose(OBJECT, at=OBJECT)
    assert found.kind == "other"
    assert any(line.startswith("a free list is corrupted: ") for line in found.evidence)
    assert not any("allocated" in line for line in found.evidence[:1])


def test_garbage_read_from_a_free_object(memory: Memory) -> None:
    assert memory.diagnose(WILD).kind == "non-canonical"
    memory.free[PLACE - 0x30] = ON_CPU
    found = memory.diagnose(WILD)
    assert found.kind == "freed-object"
    assert "read from 0x30 bytes into slab object kmalloc-96" in found.statement


def test_what_the_value_proves_stays(memory: Memory) -> None:
    memory.free[PLACE - 0x30] = ON_CPU
    for value, kind in (
        (0x6B6B_6B6B_6B6B_6B6B, "poison"),
        (0, "null"),
        (-19 % (1 << 64), "err-ptr"),
    ):
        found = memory.diagnose(value)
        assert found.kind == kind
        assert "the object is free: the free list of CPU 1 has it" in found.evidence


def test_a_free_list_pointer(memory: Memory) -> None:
    memory.hidden = HiddenPointer(cache=1, object_start=PLACE - 0x30, next_free=OBJECT)
    found = memory.diagnose(WILD)
    assert found.kind == "non-canonical"  # allocated by now, or never written
    assert "free-list pointer" in found.statement
    assert any(line.startswith("~ ") for line in found.evidence)
    memory.free[PLACE - 0x30] = ON_CPU
    found = memory.diagnose(WILD)
    assert found.kind == "freed-object"
    assert found.details["next_free"] == f"{OBJECT:#x}"
    assert not any(line.startswith("~ ") for line in found.evidence)


def test_the_allocators_own_list_was_written_over(memory: Memory) -> None:
    memory.lost = LostList(
        cache=1, cache_name="kmalloc-64", cpu=1, head=WILD, objects=(OBJECT,), written=b"A" * 6,
        likely=None,
    )  # fmt: skip
    assert memory.diagnose(WILD).kind == "non-canonical"  # it was read from memory
    found = memory.diagnose(WILD, place=None)
    assert found.kind == "freed-object"
    assert (found.details["written"], found.details["object"]) == ("0x414141414141", f"{OBJECT:#x}")


@pytest.mark.parametrize("below", [0, 0x18])
def test_a_stacks_guard_page(memory: Memory, below: int) -> None:
    value = 0xFFFF_D3A2_0000_0000
    at = value - below
    words = "guard page below the stack of task 94 (orders)"
    memory.facts[at] = AddressFacts(address=at, kind="stack-guard", words=words, pid=94)
    found = memory.diagnose(value, at=at, access="write", place=None)
    assert found.kind == "stack-guard"
    assert words in found.statement
    assert found.details["pid"] == 94
    assert "no page is mapped there: its pte entry is empty" in found.evidence


@pytest.mark.parametrize("last", ["kinds_plugin", None])
def test_a_module_that_is_gone(memory: Memory, last: str | None) -> None:
    value = 0xFFFF_FFFF_C02B_1000
    memory.facts[value] = AddressFacts(address=value, kind="module-hole", words="no module")
    memory.last = last
    found = memory.diagnose(value, at=value, access="exec", place=None)
    assert found.kind == "unmapped-module"
    assert ("(last unloaded: kinds_plugin)" in found.statement) is (last is not None)
    assert found.details["last_unloaded"] == last
    assert any(line.startswith("~ ") for line in found.evidence) is (last is not None)


def test_a_freed_vmalloc_area_and_a_free_page(memory: Memory) -> None:
    value = 0xFFFF_D3A2_0000_1000
    memory.facts[value] = AddressFacts(address=value, kind="vmalloc-hole", words="in no area")
    found = memory.diagnose(value, at=value)
    assert (found.kind, found.details["page"]) == ("other", "not mapped")
    assert "in no area; no page is mapped there" in found.statement
    memory.area = (value - 0x1000, value + 0x1000)
    assert memory.diagnose(value, at=value).kind == "freed-object"
    memory.facts[OBJECT] = AddressFacts(address=OBJECT, kind="page", words="free page", use="free")
    assert memory.diagnose(OBJECT, at=OBJECT).kind == "freed-object"


def test_why_the_cpu_refused_it(memory: Memory) -> None:
    value = 0xFFFF_FFFF_C054_4460
    for address, words in ((value, "fixed_owner"), (value + 0x1C, "fixed_owner+0x1c")):
        memory.facts[address] = AddressFacts(address=address, kind="module", words=words)
    memory.walks = {address: page(address, mapped=True) for address in (value, value + 0x1C)}
    found = memory.diagnose(value, at=value + 0x1C, access="write")
    assert found.kind == "other"
    assert found.statement.endswith("the page is read-only (pte 0x161)")
    found = memory.diagnose(value, at=value + 0x1C, access="read")
    assert any("nothing that forbids the access now" in line for line in found.evidence)


def test_the_offset_from_null_is_evidence(memory: Memory) -> None:
    found = memory.diagnose(0, at=0xA30)
    assert (found.statement, found.details["offset"]) == ("a->b was NULL", 0xA30)
    assert found.evidence[0] == "the access was 0xa30 bytes into it"


def test_pointers_on_the_way_that_are_free(memory: Memory) -> None:
    bad = BadValue(name="a->b", value=0)
    chain = (link("a", OBJECT, None, "free slab object kmalloc-96"), link("a->b", 0, PLACE))
    found = diagnose_in_memory(memory.kernel.prog, diagnose(bad), bad, access="read", chain=chain)
    assert "a points into a free slab object kmalloc-96" in found.evidence


def test_damage_does_not_end_the_diagnosis(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    def fails(*_args: object, **_more: object) -> None:
        raise FaultError("not saved", 0)

    for part in ("case", "freed", "unmapped", "slab"):
        monkeypatch.setattr(PARTS + f"{part}.classify_address", fails)
    found = memory.diagnose(WILD)
    assert found.kind == "non-canonical"
    assert "not all could be looked at: FaultError" in found.evidence


def test_a_program_without_anything() -> None:
    for value in (0, WILD, DIRECT, 0x7FFF_0000_1000):
        bad = BadValue(name="p", value=value, faulted_at=value, five_level=False)
        before = diagnose(bad)
        found = diagnose_in_memory(Program(), before, bad, access="read", chain=())
        assert found.kind == before.kind


# One bit


def flip(
    monkeypatch: pytest.MonkeyPatch, starts: Mapping[int, SlabIdentity], value: int,
    *, kernel: Kernel | None = None, place: int | None = None, ctype: str | None = None,
) -> int | None:  # fmt: skip
    def identity(_prog: Program, address: int, *, aliases: bool = True) -> SlabIdentity:
        if address not in starts:
            raise Unavailable("slab object", Reason.NOT_APPLICABLE, "none")
        return starts[address]

    made = kernel or Kernel()
    monkeypatch.setattr(PARTS + "bits.slab_identity", identity)
    monkeypatch.setattr(PARTS + "bits.region_at", region)
    monkeypatch.setattr(PARTS + "bits.is_canonical", lambda _p, a: a >> 47 == (1 << 17) - 1)
    found = one_bit_off(made.prog, value, place=place, ctype=ctype)
    return None if found is None else found.bit


def region(_prog: Program, address: int) -> object:
    class Part:
        kind = "kernel-image" if address >= 0xFFFF_FFFF_8000_0000 else "direct-map"

    return Part() if address >> 40 in (DIRECT >> 40, 0xFF_FFFF) else None


def start(address: int, *, allocated: bool | None = True, offset: int = 0) -> SlabIdentity:
    found = slab_object(address, address - offset, allocated).slab
    assert found is not None
    return found


@pytest.mark.parametrize("bit", [40, 41, 50, 55, 63])
def test_one_flip_gives_an_object(monkeypatch: pytest.MonkeyPatch, bit: int) -> None:
    assert flip(monkeypatch, {OBJECT: start(OBJECT)}, OBJECT ^ (1 << bit)) == bit


def test_weak_hits_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    value = OBJECT ^ (1 << 40)
    for weak in (
        {OBJECT: start(OBJECT, allocated=False)},
        {OBJECT: start(OBJECT, allocated=None)},
        {OBJECT: start(OBJECT, offset=8)},
        {OBJECT ^ 0x1000: start(OBJECT ^ 0x1000)},  # two bits
    ):
        assert flip(monkeypatch, weak, value) is None


def test_two_hits_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    other = OBJECT ^ (1 << 12) ^ (1 << 13)
    found = {OBJECT: start(OBJECT), other: start(other)}
    assert flip(monkeypatch, found, OBJECT ^ (1 << 12)) is None


def test_an_object_that_does_not_fit_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    kernel.struct("big", 128, ("a", "long", 0))
    kernel.struct("small", 96, ("a", "long", 0))
    kernel.struct("tiny", 16, ("a", "long", 0))
    value, found = OBJECT ^ (1 << 40), {OBJECT: start(OBJECT)}
    assert flip(monkeypatch, found, value, kernel=kernel, ctype="struct big *") is None
    assert flip(monkeypatch, found, value, kernel=kernel, ctype="struct small *") == 40
    assert flip(monkeypatch, found, value, kernel=kernel, ctype="struct tiny *") is None
    assert flip(monkeypatch, found, value, kernel=kernel, ctype="void *") == 40


def test_a_list_node_that_points_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    node = OBJECT + 0x18
    kernel.put(node, bytes(8) + PLACE.to_bytes(8, "little"))
    value = node ^ (1 << 41)
    assert flip(monkeypatch, {}, value, kernel=kernel, place=PLACE) == 41
    assert flip(monkeypatch, {}, value, kernel=kernel, place=PLACE + 8) is None
    kernel.put(node, (PLACE - 8).to_bytes(8, "little") + bytes(8))  # value was a prev
    assert flip(monkeypatch, {}, value, kernel=kernel, place=PLACE) == 41


def test_symbols_count_only_from_afar(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    function = 0xFFFF_FFFF_8100_1230
    kernel.symbol("schedule", function, 0x100)
    assert flip(monkeypatch, {}, function ^ (1 << 42), kernel=kernel) == 42
    assert flip(monkeypatch, {}, function ^ (1 << 20), kernel=kernel) is None
    assert flip(monkeypatch, {}, (function + 8) ^ (1 << 42), kernel=kernel) is None


def test_a_mapped_value_is_no_flip(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    good = OBJECT ^ (1 << 12)
    monkeypatch.setattr(
        PARTS + "bits.slab_identity",
        lambda _p, a, aliases: start(a) if a == good else pytest.fail("asked"),
    )
    memory.walks[OBJECT] = page(OBJECT, mapped=True)
    assert memory.diagnose(OBJECT, at=OBJECT).kind == "other"
