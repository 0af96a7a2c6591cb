"""Entries of an xarray, and pages that are no file's, followed as pointers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crashkit.fault.diagnosis import BadValue, diagnose
from crashkit.fault.diagnosis_memory import diagnose_in_memory
from crashkit.fault.model import OriginStep
from crashkit.value import Certainty
from tests.unit.diagnosis_doubles import (
    DIRECT,
    OBJECT,
    PLACE,
    WILD,
    Memory,
    link,
    slab_object,
)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    made = Memory(monkeypatch)
    made.facts[PLACE] = slab_object(PLACE, PLACE - 0x30)
    return made


XA_NODE = DIRECT + 0x3_0000
SLOTS = 40
"""Bytes before the slots of a struct xa_node."""


def xarray(memory: Memory) -> Memory:
    memory.kernel.struct(
        "xa_node", 576, ("shift", "unsigned char", 0), ("slots", "void *[64]", SLOTS)
    )
    return memory


def in_slot(memory: Memory, number: int) -> int:
    place = XA_NODE + SLOTS + 8 * number
    object_ = slab_object(place, XA_NODE)
    assert object_.slab is not None
    slab = replace(object_.slab, cache_name="radix_tree_node")
    memory.facts[place] = replace(object_, slab=slab)
    return place


@pytest.mark.parametrize(
    ("value", "words", "details"),
    [
        (0x2B, "the xarray value entry 0x15 (21), no pointer", ("value", 21)),
        (0x12345678_00000001, "the xarray value entry 0x91a2b3c00000000", ("value", None)),
        (5 << 2 | 2, "an xarray sibling entry: the entry itself is in slot 5", ("sibling", 5)),
        (256 << 2 | 2, "XA_RETRY_ENTRY", ("retry", 256)),
        (257 << 2 | 2, "XA_ZERO_ENTRY", ("zero", 257)),
        ((-12 << 2 | 2) % (1 << 64), "the xarray error -12 (ENOMEM)", ("error", 12)),
    ],
)
def test_an_entry_read_from_an_xarray_node(
    memory: Memory, value: int, words: str, details: tuple[str, int | None]
) -> None:
    found = xarray(memory).diagnose(value, place=in_slot(memory, 7), at=value + 0x38)
    assert found.kind == "other"
    assert words in found.statement
    assert f"it was read from slot 7 of the xarray node {XA_NODE:#x}" in found.evidence
    assert found.details["xarray"] == details[0]
    assert details[1] in (None, found.details["entry"])


def test_an_odd_number_from_elsewhere_is_no_entry(memory: Memory) -> None:
    xarray(memory)
    memory.facts[XA_NODE + 8] = replace(slab_object(XA_NODE + 8, XA_NODE))
    for place in (PLACE, XA_NODE + 8):
        found = memory.diagnose(0x2B, place=place, at=0x63)
        assert (found.kind, found.details.get("xarray")) == ("null", None)
    # A pointer in a slot may be bad in other ways.
    wild = memory.diagnose(WILD, place=in_slot(memory, 1))
    assert (wild.kind, wild.details.get("xarray")) == ("non-canonical", None)


@pytest.mark.parametrize(
    ("expression", "name", "says"),
    [
        ("xa_load()", None, "it came back from xa_load()"),
        ("port->orders.xa_head", None, "it was read from port->orders.xa_head"),
        ("order", "radix_tree_lookup()", "it came back from radix_tree_lookup()"),
        ("order", "find_order()", None),
        ("port->index", None, None),
    ],
)
def test_an_entry_by_what_gave_it(
    memory: Memory, expression: str, name: str | None, says: str | None
) -> None:
    bad = BadValue(name=expression, value=0x2B, faulted_at=0x33)
    chain = (replace(link(expression, 0x2B, None), address=None),)
    origins = () if name is None else (OriginStep(
        frame=1, function="caller", parameter="order", expression=name, ctype="void *",
        value=0x2B, certainty=Certainty.PROVED,
    ),)  # fmt: skip
    found = diagnose_in_memory(
        xarray(memory).kernel.prog, diagnose(bad), bad, access="read", chain=chain,
        origins=origins,
    )  # fmt: skip
    assert found.kind == ("null" if says is None else "other")
    assert says is None or says in found.evidence


@pytest.mark.parametrize(
    ("ctype", "says"), [("struct xa_node *", True), ("struct journal *", False)]
)
def test_only_an_xarray_nodes_slots_have_its_entries(
    memory: Memory, ctype: str, says: bool
) -> None:
    bad = BadValue(name="it->slots[3]", value=0x2B, faulted_at=0x33)
    holder = replace(link("it", OBJECT, None), ctype=ctype)
    found = diagnose_in_memory(
        xarray(memory).kernel.prog, diagnose(bad), bad, access="read",
        chain=(holder, replace(link("it->slots[3]", 0x2B, None), address=None)),
    )  # fmt: skip
    assert ("xarray" in found.details) == says


def test_a_kernel_without_xarrays_has_none_of_their_entries(memory: Memory) -> None:
    # Up to v4.19 radix trees have nodes in the cache of this name, and other marks.
    found = memory.diagnose(0x2B, place=in_slot(memory, 7), at=0x63)
    assert (found.kind, found.details.get("xarray")) == ("null", None)


@pytest.mark.parametrize(("low", "says"), [(1, "an anonymous page's anon_vma"), (0, None)])
def test_a_page_that_is_no_files_is_said(memory: Memory, low: int, says: str | None) -> None:
    bad = BadValue(name="folio->mapping->host", value=WILD, faulted_at=None)
    mapping = replace(link("folio->mapping", OBJECT + low, PLACE), ctype="struct address_space *")
    found = diagnose_in_memory(
        memory.kernel.prog, diagnose(bad), bad, access="read",
        chain=(mapping, link("folio->mapping->host", WILD, OBJECT + low)),
    )  # fmt: skip
    told = [line for line in found.evidence if "folio->mapping has the flag 1" in line]
    assert told == ([f"folio->mapping has the flag 1: {says}, no file's"] if says else [])


def test_an_entry_that_other_functions_only_handed_back(memory: Memory) -> None:
    xarray(memory)
    step = OriginStep(
        frame=5, function="seq_read_iter", parameter="v", expression=None, ctype=None,
        value=0x2B, certainty=Certainty.PROVED, returned_by=("ent_next", "xa_find"),
    )  # fmt: skip

    def kind(passed: OriginStep) -> tuple[str, tuple[str, ...]]:
        bad = BadValue(name="v", value=0x2B)
        found = diagnose_in_memory(
            memory.kernel.prog, diagnose(bad), bad, access="read",
            chain=(link("v", 0x2B, None),), origins=(passed,),
        )  # fmt: skip
        return found.kind, found.evidence

    assert kind(step) == ("other", ("~ it came back from xa_find(), by way of ent_next()",))
    assert kind(replace(step, value=0x2C))[0] == "null"
    assert kind(replace(step, returned_by=("ent_next",)))[0] == "null"
