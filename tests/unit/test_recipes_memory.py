"""Recipes of recipes/memory on a kernel made by hand: what decides, and what leaves it open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from drgn import Program

from crashkit.crash.bad_pointer import bad_pointer
from crashkit.crash.panics.linked import ListCorruption
from crashkit.decode.list_links import ListNode
from crashkit.decode.slab_damage import LostList
from crashkit.decode.slab_report import Area, Difference, SlabReport
from crashkit.errors import Unavailable
from crashkit.fault.diagnosis_bits import OneBit
from crashkit.fault.model import Diagnosis, OriginStep
from crashkit.finding import Verdict
from crashkit.value import Certainty
from tests.unit.recipes_memory_doubles import (
    CACHE,
    LOST,
    OBJECT,
    ON_CPU,
    OTHER,
    PLACE,
    POISON1,
    POISON2,
    WILD,
    Allocator,
    MemoryCrash,
    all_recipes,
    crash_of,
    fault_of,
    held,
    link,
    run,
    verdict,
)
from tests.unit.report_doubles import as_crash, empty


@pytest.fixture
def slabs(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    made = Allocator()
    monkeypatch.setattr("crashkit.decode.slab.slab_identity", made.identity)
    monkeypatch.setattr("crashkit.decode.slab_place.free_place_of", made.place)
    monkeypatch.setattr("crashkit.decode.slab_hidden.hidden_pointer", made.hidden)
    monkeypatch.setattr("crashkit.fault.diagnosis_slab.track_words", lambda _prog, _slab: ())
    return made


# the bad pointer


def test_a_bad_pointer_is_one_that_a_register_had() -> None:
    crash = crash_of(WILD, "non-canonical")
    bad = bad_pointer(as_crash(crash))
    assert bad is not None
    assert (bad.register, bad.place, bad.base and bad.base.value) == ("rax", PLACE, OBJECT)
    for change in (
        {"conflict": "the CPU says otherwise"},
        {"chain": ()},
        {"registers": {"rax": WILD + 1}},
        {"chain": (replace(fault_of(WILD, "").chain[1], certainty=Certainty.INFERRED),)},
    ):
        other = crash_of(WILD, "non-canonical", **change)
        assert bad_pointer(as_crash(other)) is None, change


def step(expression: str, address: int | None, certainty: Certainty) -> OriginStep:
    return OriginStep(
        frame=1, function="outer", parameter="lease", expression=expression,
        ctype="struct lease *", value=WILD, certainty=certainty, address=address,
    )  # fmt: skip


def test_a_parameter_was_read_by_the_caller_that_proves_it() -> None:
    only = (link("lease", WILD, "rax"),)
    passed = step("lease", None, Certainty.PROVED)
    read = step("port->lease", PLACE, Certainty.PROVED)
    for origins, place in (
        ((passed, read), PLACE),
        ((passed, replace(read, certainty=Certainty.INFERRED)), None),
        ((replace(passed, value=1), read), None),
    ):
        found = bad_pointer(as_crash(crash_of(WILD, "non-canonical", chain=only, origins=origins)))
        assert found is not None
        assert found.place == place


# freed-object-read


@pytest.mark.parametrize(
    ("value", "kind", "is_link", "word"),
    [
        (WILD, "freed-object", True, "free-list pointer"),
        (0x6B6B_6B6B_6B6B_6B6B, "poison", False, "poison"),
        (WILD, "freed-object", False, "left over"),
    ],
)
def test_a_pointer_out_of_a_free_object(
    slabs: Allocator, value: int, kind: str, is_link: bool, word: str
) -> None:
    slabs.free, slabs.is_link = ON_CPU, is_link
    found = run("freed-object-read", crash_of(value, kind))
    assert found is not None
    assert (found.verdict, found.classes) == (Verdict.CONFIRMED, (word,))


def test_an_object_in_use_is_none_that_was_freed(slabs: Allocator) -> None:
    crash = crash_of(WILD, "non-canonical")
    assert verdict("freed-object-read", crash) is Verdict.REFUTED
    assert held("freed-object-read", crash)["free"] is False


def test_memory_of_no_slab_is_no_object(slabs: Allocator) -> None:
    outside = (link("lease->next", WILD, "rax", address=OTHER),)
    crash = crash_of(WILD, "non-canonical", chain=outside)
    assert verdict("freed-object-read", crash) is Verdict.REFUTED
    slabs.unread = True
    assert verdict("freed-object-read", crash) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("lost", ["page", "changed", "lists"])
def test_a_free_object_is_open_without(slabs: Allocator, lost: str) -> None:
    slabs.free = LOST if lost == "lists" else ON_CPU
    crash = crash_of(WILD, "freed-object")
    if lost == "page":
        crash.kernel.drop(PLACE)
    elif lost == "changed":
        crash.kernel.put(PLACE, bytes(8))
    assert verdict("freed-object-read", crash) is Verdict.INCONCLUSIVE


def test_null_out_of_an_object_counts_only_if_that_is_free(slabs: Allocator) -> None:
    slabs.free = ON_CPU
    crash = crash_of(0, "null")
    assert run("freed-object-read", crash) is None
    assert crash.fault is not None
    base = replace(crash.fault.chain[0], identity="free slab object kmalloc-64")
    freed = crash_of(0, "null", chain=(base, crash.fault.chain[1]))
    assert verdict("freed-object-read", freed) is Verdict.CONFIRMED


def test_a_mapped_page_is_no_garbage(slabs: Allocator) -> None:
    mapped = Diagnosis(kind="other", statement="", details={"page": "mapped"})
    crash = crash_of(WILD, "other", diagnosis=mapped)
    for recipe_id in ("freed-object-read", "one-bit-flip", "slab-freelist-overwritten"):
        assert run(recipe_id, crash) is None


# list-entry-removed


def test_a_removed_entry_was_followed() -> None:
    crash = crash_of(POISON1, "list-poison")
    crash.kernel.put(PLACE + 8, POISON2.to_bytes(8, "little"))
    found = run("list-entry-removed", crash)
    assert found is not None
    assert (found.verdict, found.classes) == (Verdict.CONFIRMED, ("read through",))
    assert held("list-entry-removed", crash)["other"] is True
    crash.kernel.put(PLACE + 8, bytes(8))
    assert held("list-entry-removed", crash) == {"poison": True, "link": True, "other": False}


@pytest.mark.parametrize("lost", ["page", "changed", "chain", "near"])
def test_a_removed_entry_is_open_without(lost: str) -> None:
    crash = crash_of(POISON1, "list-poison", **({"chain": ()} if lost == "chain" else {}))
    if lost == "page":
        crash.kernel.drop(PLACE)
    elif lost == "changed":
        crash.kernel.put(PLACE, OTHER.to_bytes(8, "little"))
    elif lost == "near":
        crash = crash_of(POISON1 + 0x18, "list-poison")
    assert verdict("list-entry-removed", crash) is Verdict.INCONCLUSIVE


def node(role: str, forward: int | None, back: int | None) -> ListNode:
    return ListNode(
        role=role, address=OTHER, next=forward, prev=back, identity=None, next_words=None,
        prev_words=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "nodes", "wanted"),
    [
        ("delete", (node("entry", POISON1, POISON2),), Verdict.CONFIRMED),
        ("delete", (node("entry", OTHER, POISON2),), Verdict.CONFIRMED),  # list_del_rcu()
        ("delete", (node("entry", OBJECT, OTHER), node("prev", POISON1, 0)), Verdict.REFUTED),
        ("delete", (node("entry", POISON1, None),), Verdict.INCONCLUSIVE),
        ("add", (node("prev", POISON1, 0), node("next", 0, OTHER)), Verdict.CONFIRMED),
        ("add", (node("prev", OTHER, 0), node("next", 0, OTHER)), Verdict.REFUTED),
        ("add", (node("entry", POISON1, POISON2), node("prev", OTHER, 0),
                 node("next", 0, OTHER)), Verdict.REFUTED),
        ("add", (node("prev", OTHER, 0),), Verdict.INCONCLUSIVE),
    ],
)  # fmt: skip
def test_links_that_the_kernel_checked(
    monkeypatch: pytest.MonkeyPatch, operation: str, nodes: tuple[ListNode, ...], wanted: Verdict
) -> None:
    corruption = ListCorruption(
        operation=operation, wrong=None, origin={}, nodes=nodes, links=(), conflicts=(), absent={}
    )
    monkeypatch.setattr("crashkit.crash.panics.linked.read", lambda _crash: corruption)
    function = "__list_del_entry_valid.cold" if operation == "delete" else "__list_add_valid"
    crash = replace(crash_of(0, "other"), faulting_function=function)
    assert verdict("list-entry-removed", crash) is wanted


# slab-double-free


def freed_twice(**more: Any) -> MemoryCrash:
    registers = {"rax": OBJECT, "rbx": OBJECT, "rdi": CACHE, "rbp": CACHE}
    crash = crash_of(0, "other", instruction="ud2", registers=registers, chain=(), **more)
    crash = replace(crash, faulting_function="kfree.part.0")
    crash.kernel.struct("kmem_cache", 64, ("offset", "u32", 16))
    crash.kernel.allocate("struct kmem_cache", CACHE, offset=0x20)
    crash.kernel.put(PLACE, WILD.to_bytes(8, "little"))
    return crash


def test_an_object_freed_while_free(slabs: Allocator) -> None:
    slabs.free, slabs.is_link, slabs.next_free = ON_CPU, True, OTHER
    found = run("slab-double-free", freed_twice())
    assert found is not None
    assert found.verdict is Verdict.CONFIRMED
    slabs.next_free = 0  # that link may be of this very kfree()
    found = run("slab-double-free", freed_twice())
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the list itself was written to" in str(found.advice)


def test_a_list_that_leads_to_an_object_in_use_proves_nothing(slabs: Allocator) -> None:
    slabs.free = ON_CPU
    assert held("slab-double-free", freed_twice())["link"] is False
    slabs.free, slabs.is_link = None, True
    assert held("slab-double-free", freed_twice())["free"] is False


@pytest.mark.parametrize("wipes", [True, False, None])
def test_a_link_that_may_have_been_wiped(slabs: Allocator, wipes: bool | None) -> None:
    slabs.free = ON_CPU
    crash = freed_twice()
    crash.kernel.put(PLACE, bytes(8))
    if wipes is not None:
        crash.kernel.struct("counter", 4, ("counter", "int", 0))
        crash.kernel.struct("static_key", 4, ("enabled", "struct counter", 0))
        crash.kernel.struct("static_key_false", 4, ("key", "struct static_key", 0))
        made = crash.kernel.variable("init_on_free", "struct static_key_false")
        crash.kernel.set(made, {"key.enabled.counter": int(wipes)})
    wanted = Verdict.REFUTED if wipes is False else Verdict.INCONCLUSIVE
    assert verdict("slab-double-free", crash) is wanted


@pytest.mark.parametrize("lost", ["page", "lists", "cache", "frame"])
def test_a_double_free_is_open_without(slabs: Allocator, lost: str) -> None:
    slabs.free, slabs.is_link = (LOST if lost == "lists" else ON_CPU), True
    crash = freed_twice()
    if lost == "page":
        crash.kernel.drop(PLACE)
    elif lost == "cache":  # two equal registers may be anything
        assert crash.fault is not None
        registers = {"rax": OBJECT, "rbx": OBJECT}
        crash = replace(crash, fault=replace(crash.fault, registers=registers))
    elif lost == "frame":
        crash = replace(crash, fault_frame=None)
    assert verdict("slab-double-free", crash) is Verdict.INCONCLUSIVE


def test_only_where_the_allocator_stopped_itself() -> None:
    crash = freed_twice()
    assert run("slab-double-free", replace(crash, faulting_function="lease_time")) is None
    assert crash.fault is not None
    read = replace(crash, fault=replace(crash.fault, instruction="mov (%rax),%rax"))
    assert run("slab-double-free", read) is None


# slab-freelist-overwritten


def lost_list(monkeypatch: pytest.MonkeyPatch, answer: LostList | Unavailable | None) -> None:
    def read(_prog: Program, _address: int) -> LostList | None:
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    monkeypatch.setattr("crashkit.decode.slab_damage.lost_list", read)
    own = SimpleNamespace(freelist=SimpleNamespace(address_=OTHER))
    monkeypatch.setattr("drgn.helpers.linux.percpu.per_cpu_ptr", lambda _base, _cpu: own)


def allocating(kind: str) -> MemoryCrash:
    return replace(crash_of(WILD, kind), faulting_function="__kmem_cache_alloc_node")


def test_a_list_that_leads_out_of_its_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = allocating("freed-object")
    crash.kernel.struct("kmem_cache", 64, ("cpu_slab", "void *", 0))
    crash.kernel.allocate("struct kmem_cache", CACHE)
    led = LostList(
        cache=CACHE, cache_name="kmalloc-64", cpu=1, head=WILD, objects=(), written=b"A" * 6,
        likely=OBJECT,
    )  # fmt: skip
    lost_list(monkeypatch, led)
    found = run("slab-freelist-overwritten", crash)
    assert found is not None
    assert found.verdict is Verdict.CONFIRMED
    assert found.advice is not None
    assert f"object {OBJECT:#x} of kmalloc-64" in found.advice
    lost_list(monkeypatch, replace(led, written=b"", likely=None))
    assert held("slab-freelist-overwritten", crash) == {"list": True, "written": None}


@pytest.mark.parametrize(
    ("answer", "wanted"), [(None, Verdict.REFUTED), (LOST, Verdict.INCONCLUSIVE)]
)
def test_no_list_begins_there(
    monkeypatch: pytest.MonkeyPatch, answer: Unavailable | None, wanted: Verdict
) -> None:
    lost_list(monkeypatch, answer)
    assert verdict("slab-freelist-overwritten", allocating("non-canonical")) is wanted


@pytest.mark.parametrize(
    ("function", "applies"),
    [("___slab_alloc", True), ("kmalloc_trace", True), ("lease_time", False), (None, False)],
)
def test_only_the_allocator_follows_a_free_list(
    monkeypatch: pytest.MonkeyPatch, function: str | None, *, applies: bool
) -> None:
    lost_list(monkeypatch, None)
    crash = replace(crash_of(WILD, "non-canonical"), faulting_function=function)
    assert (run("slab-freelist-overwritten", crash) is not None) is applies


# one-bit-flip

FLIPPED = OTHER ^ (1 << 55)


def flips(monkeypatch: pytest.MonkeyPatch, found: OneBit | None) -> None:
    monkeypatch.setattr("crashkit.fault.diagnosis_bits.one_bit_off", lambda *_a, **_k: found)


def flipped() -> MemoryCrash:
    crash = crash_of(FLIPPED, "one-bit-off")
    crash.kernel.put(OTHER, bytes(8))
    return crash


def test_one_bit_makes_it_good(monkeypatch: pytest.MonkeyPatch, slabs: Allocator) -> None:
    flips(monkeypatch, OneBit(bit=55, good=OTHER, words="the start of an object"))
    found = run("one-bit-flip", flipped())
    assert found is not None
    assert found.verdict is Verdict.CONFIRMED
    assert f"{PLACE:#x}" in str(found.advice)
    slabs.free = ON_CPU
    assert verdict("one-bit-flip", flipped()) is Verdict.REFUTED


@pytest.mark.parametrize("lost", [PLACE, OTHER])
def test_a_flip_is_open_without(
    monkeypatch: pytest.MonkeyPatch, slabs: Allocator, lost: int
) -> None:
    flips(monkeypatch, OneBit(bit=55, good=OTHER, words="the start of an object"))
    crash = flipped()
    crash.kernel.drop(lost)
    assert verdict("one-bit-flip", crash) is Verdict.INCONCLUSIVE


def test_no_bit_makes_it_good(monkeypatch: pytest.MonkeyPatch, slabs: Allocator) -> None:
    flips(monkeypatch, None)
    assert verdict("one-bit-flip", crash_of(WILD, "non-canonical")) is Verdict.REFUTED
    region = SimpleNamespace(kind="direct-map")
    monkeypatch.setattr("crashkit.decode.address_regions.region_at", lambda _p, _a: region)
    monkeypatch.setattr("crashkit.decode.address_regions.is_canonical", lambda _p, a: a == OTHER)
    assert verdict("one-bit-flip", flipped()) is Verdict.REFUTED
    slabs.unread = True  # a flip that may be good, and cannot be looked at
    assert verdict("one-bit-flip", flipped()) is Verdict.INCONCLUSIVE


def test_a_flip_to_an_object_that_may_be_free_is_open(
    monkeypatch: pytest.MonkeyPatch, slabs: Allocator
) -> None:
    flips(monkeypatch, None)
    region = SimpleNamespace(kind="direct-map")
    monkeypatch.setattr("crashkit.decode.address_regions.region_at", lambda _p, _a: region)
    monkeypatch.setattr("crashkit.decode.address_regions.is_canonical", lambda _p, a: a == OBJECT)
    crash = crash_of(OBJECT ^ (1 << 55), "one-bit-off")
    assert verdict("one-bit-flip", crash) is Verdict.INCONCLUSIVE
    slabs.allocated = True
    assert verdict("one-bit-flip", crash) is Verdict.REFUTED


# unchecked-error-pointer


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        (-19, "err-ptr", Verdict.CONFIRMED),
        (-517, "err-ptr", Verdict.CONFIRMED),  # EPROBE_DEFER
        (-4001, "err-ptr", Verdict.REFUTED),
        (0, "container-of-null", Verdict.REFUTED),
    ],
)
def test_error_pointers(slabs: Allocator, value: int, kind: str, wanted: Verdict) -> None:
    assert verdict("unchecked-error-pointer", crash_of(value % (1 << 64), kind)) is wanted


def test_an_error_pointer_is_named_and_open_without_its_page(slabs: Allocator) -> None:
    crash = crash_of(-19 % (1 << 64), "err-ptr")
    found = run("unchecked-error-pointer", crash)
    assert found is not None
    assert str(found.advice).startswith("lease->next is ENODEV: ")
    crash.kernel.drop(PLACE)
    assert verdict("unchecked-error-pointer", crash) is Verdict.INCONCLUSIVE


# slab-overrun and slab-write-after-free


def damaged(*areas: Area) -> SlabReport:
    return SlabReport(
        object=OBJECT, cache=CACHE, cache_name="kmalloc-64", aliases=(), object_size=64, size=256,
        allocated=True, debug=("RED_ZONE", "POISON"), areas=areas, tracks=(), neighbours=(),
        begins="",
    )  # fmt: skip


def area(name: str, low: int, size: int, *hit: int) -> Area:
    found = tuple(
        Difference(address=OBJECT + at, offset=at, length=2, expected=0xCC, found="4546", text="EF")
        for at in hit
    )
    return Area(name=name, address=OBJECT + low, size=size, differences=found)


def reported(monkeypatch: pytest.MonkeyPatch, report: SlabReport, zone: int = 0xCC) -> MemoryCrash:
    monkeypatch.setattr(
        "crashkit.crash.panics.slab.read", lambda _crash: SimpleNamespace(report=report)
    )
    monkeypatch.setattr(
        "crashkit.decode.slab_report.read_slab_report", lambda _prog, _at, *, free: report
    )
    crash = MemoryCrash(target=empty().target, oops=SimpleNamespace(kind="slab-corruption"))  # type: ignore[arg-type]
    crash.kernel.put(OBJECT - 64, bytes([zone] * 64) + bytes(64) + bytes([zone] * 8))
    return crash


@pytest.mark.parametrize(
    ("hit", "wanted"),
    [((64,), Verdict.CONFIRMED), ((66,), Verdict.REFUTED), ((), Verdict.REFUTED)],
)
def test_a_write_past_the_end(
    monkeypatch: pytest.MonkeyPatch, hit: tuple[int, ...], wanted: Verdict
) -> None:
    report = damaged(area("left red zone", -64, 64), area("right red zone", 64, 8, *hit))
    crash = reported(monkeypatch, report)
    assert verdict("slab-overrun", crash) is wanted
    crash.kernel.drop(OBJECT)
    assert verdict("slab-overrun", crash) is Verdict.INCONCLUSIVE
    assert verdict("slab-overrun", reported(monkeypatch, damaged())) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("zone", "hit", "wanted"),
    [
        (0xBB, (16,), Verdict.CONFIRMED),
        (0xCC, (16,), Verdict.REFUTED),
        (0xBB, (), Verdict.REFUTED),
        (0x41, (16,), Verdict.INCONCLUSIVE),
    ],
)
def test_a_write_to_a_free_object(
    monkeypatch: pytest.MonkeyPatch, zone: int, hit: tuple[int, ...], wanted: Verdict
) -> None:
    report = damaged(area("left red zone", -64, 64), area("poison", 0, 63, *hit))
    crash = reported(monkeypatch, report, zone)
    assert verdict("slab-write-after-free", crash) is wanted
    crash.kernel.drop(OBJECT)
    assert verdict("slab-write-after-free", crash) is Verdict.INCONCLUSIVE


# all of them


def all_memory() -> Iterator[str]:
    for recipe in all_recipes().recipes:
        if recipe.source.name.startswith("memory/"):
            yield recipe.meta.id


def test_recipes_of_this_directory_are_loaded_and_quiet_on_an_empty_dump() -> None:
    assert len(list(all_memory())) == 9
    for recipe_id in all_memory():
        assert run(recipe_id, MemoryCrash(target=empty().target)) is None


@pytest.mark.parametrize("value", [WILD, POISON1, -19 % (1 << 64)])
def test_text_alone_confirms_nothing(slabs: Allocator, value: int) -> None:
    slabs.free = ON_CPU
    text = replace(empty().target, format="text")
    kind = {WILD: "freed-object", POISON1: "list-poison"}.get(value, "err-ptr")
    for recipe_id in all_memory():
        found = run(recipe_id, replace(crash_of(value, kind), target=text))
        assert found is None or found.verdict is not Verdict.CONFIRMED
