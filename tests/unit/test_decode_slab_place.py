"""Which free list has an object, hidden pointers, and lists that were led astray."""

from __future__ import annotations

import pytest
from drgn.helpers.linux.slab import SlabObjectInfo

from crashkit.decode import slab_damage
from crashkit.decode.slab_damage import lost_list
from crashkit.decode.slab_hidden import hidden_pointer
from crashkit.decode.slab_place import free_place
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import list_of
from tests.unit.slab_doubles import FIRST, OFFSET, SIZE, Slab, hide, make_slab


def place(made: Slab, index: int) -> str | None:
    found = free_place(made.cache, made.slab, made.start(index))
    return None if found is None else f"{found.kind} {found.number}"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Slab:
    return make_slab(monkeypatch)


def test_each_list(made: Slab) -> None:
    made.kernel.set(made.own[1], {"slab": made.slab.value_(), "freelist": made.link(2)})
    made.kernel.set(made.slab, {"freelist": made.link(3, 1), "inuse": 2})
    assert [place(made, index) for index in range(4)] == [None, "cpu-slab 1", "cpu 1", "cpu-slab 1"]


def test_a_slab_that_a_cpu_keeps_for_later(made: Slab) -> None:
    other = made.kernel.allocate("struct slab", objects=4, next=made.slab.value_())
    made.kernel.set(made.slab, {"freelist": made.link(0), "inuse": 3})
    assert place(made, 0) == "slab None"
    made.kernel.set(made.own[0], {"partial": other.value_()})
    assert place(made, 0) == "cpu-partial 0"
    assert place(made, 1) is None


def test_a_slab_of_a_nodes_list(made: Slab) -> None:
    made.kernel.set(made.slab, {"freelist": made.link(0)})
    node = made.cache.node[0]
    list_of(made.kernel, node.partial.address_of_(), "slab_list", made.slab)
    assert place(made, 0) == "node-partial 0"


def test_sheaves(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_slab(monkeypatch, sheaves=True)
    spare = made.kernel.allocate("struct slab_sheaf", size=1)
    made.kernel.set(spare, {"objects[0]": made.start(1)})
    made.kernel.set(made.sheaves[1], {"spare": spare.value_()})
    full = made.kernel.allocate("struct slab_sheaf", size=1)
    made.kernel.set(full, {"objects[0]": made.start(2)})
    barn = made.cache.node[0].barn
    list_of(made.kernel, barn.sheaves_full.address_of_(), "barn_list", full)
    assert [place(made, index) for index in range(3)] == [None, "sheaf 1", "barn None"]


@pytest.mark.parametrize(
    "astray", [FIRST + SIZE + 8, FIRST + 64 * SIZE, FIRST + 3 * SIZE, 0x41414141]
)
def test_a_damaged_list_is_not_one_without_the_object(made: Slab, astray: int) -> None:
    head = made.link(3, 1, last=astray)  # FIRST + 3 * SIZE makes it a ring
    made.kernel.set(made.slab, {"freelist": head})
    assert place(made, 1) == "slab None"  # reached before the damage
    with pytest.raises(Unavailable) as caught:
        place(made, 0)
    assert caught.value.reason is Reason.CORRUPTED


@pytest.mark.parametrize("inuse", [1, 4, 0xFFFF])
def test_a_list_that_was_cut_short_proves_nothing_allocated(made: Slab, inuse: int) -> None:
    made.kernel.set(made.slab, {"freelist": made.link(3, 1), "inuse": inuse})
    assert place(made, 1) == "slab None"
    with pytest.raises(Unavailable) as caught:
        place(made, 0)
    assert caught.value.reason is Reason.CORRUPTED
    assert f"2 entries, {4 - inuse} free by the slab's count" in str(caught.value)


def test_past_the_last_object_is_neither_free_nor_allocated(made: Slab) -> None:
    for index in (-1, 4):
        with pytest.raises(Unavailable) as caught:
            place(made, index)
        assert caught.value.reason is Reason.NOT_APPLICABLE


def test_a_head_outside_the_slab_and_impossible_numbers(made: Slab) -> None:
    made.kernel.set(made.slab, {"freelist": FIRST - SIZE})
    for values in ({}, {"freelist": 0, "objects": 0}):
        made.kernel.set(made.slab, values)
        with pytest.raises(Unavailable) as caught:
            place(made, 0)
        assert caught.value.reason is Reason.CORRUPTED


def hidden(
    monkeypatch: pytest.MonkeyPatch, made: Slab, value: int, index: int, at: int
) -> int | None:
    start = made.start(index)
    info = SlabObjectInfo(made.cache, made.slab, start, False)
    monkeypatch.setattr("crashkit.decode.slab_hidden.slab_object_info", lambda _p, _a: info)
    found = hidden_pointer(made.kernel.prog, value, start + at)
    return None if found is None else found.next_free


def test_a_hidden_pointer_is_recognised(monkeypatch: pytest.MonkeyPatch, made: Slab) -> None:
    where = made.start(1) + OFFSET
    for target in (made.start(3), 0):
        assert hidden(monkeypatch, made, hide(where, target), 1, OFFSET) == target
    assert hidden(monkeypatch, made, hide(where, made.start(3)) ^ 8, 1, OFFSET) is None
    assert hidden(monkeypatch, made, hide(where - 8, made.start(3)), 1, OFFSET - 8) is None
    assert hidden(monkeypatch, made, hide(where, made.start(4)), 1, OFFSET) is None


def test_the_list_of_a_cpu_that_was_written_over(
    monkeypatch: pytest.MonkeyPatch, made: Slab
) -> None:
    monkeypatch.setattr(slab_damage, "_crashed_cpu", lambda _prog: 1)
    text = int.from_bytes(b"AAAAAAAA", "little")
    head = hide(made.start(2) + OFFSET, text)  # hiding twice is reading
    made.kernel.set(made.own[1], {"slab": made.slab.value_(), "freelist": head})
    found = lost_list(made.kernel.prog, head + OFFSET)
    assert found is not None
    assert (found.cache_name, found.cpu, found.head, found.objects) == ("kmalloc-64", 1, head, ())
    assert found.written.startswith(b"AAAAAA")
    assert b"AAAAAAAA".startswith(found.written)
    assert found.likely == made.start(2)
    made.kernel.put(made.start(2) + OFFSET, b"AAAAAAAA")
    found = lost_list(made.kernel.prog, head)
    assert found is not None
    assert found.objects == (made.start(2),)
    assert lost_list(made.kernel.prog, head + 8) is None


def test_a_sound_list_is_not_lost(monkeypatch: pytest.MonkeyPatch, made: Slab) -> None:
    monkeypatch.setattr(slab_damage, "_crashed_cpu", lambda _prog: 0)
    made.kernel.set(made.own[0], {"slab": made.slab.value_(), "freelist": made.start(2)})
    assert lost_list(made.kernel.prog, made.start(2)) is None
