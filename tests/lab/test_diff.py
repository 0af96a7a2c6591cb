"""``crashkit diff`` on dumps of the lab: what a guest leaked is what grew most."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.diff import Change, Difference, compare
from tests.lab.conftest import full_folder

pytestmark = pytest.mark.lab

Opened = Callable[..., Crash]
KERNELS = ("6.1", "6.12")
MIB = 1 << 20


def change(found: Difference, part: str, key: str, quantity: str = "count") -> Change:
    section = next(one for one in found.sections if one.key == part)
    return next(row for row in section.rows if row.key == key).numbers[quantity]


def test_one_crash_in_two_formats_is_the_same(opened: Opened) -> None:
    found = compare(opened("sysrq-6.1/kdump-zlib"), opened("sysrq-6.1/kdump-lzo"))
    assert found.order.same_boot is True
    assert found.order.elapsed_s == 0
    assert [(s.key, row.key) for s in found.sections for row in s.rows if row.differs] == []
    assert [s.key for s in found.sections if s.unread] == []
    assert not found.is_partial


def test_two_boots_of_one_kernel(opened: Opened) -> None:
    found = compare(opened("sysrq-6.1/kdump-zlib"), opened("clash-stock-6.1"))
    assert found.order.same_boot is False
    assert not any("different kernels" in words for words in found.warnings)
    assert change(found, "memory", "total", "bytes").before is not None
    taken = change(found, "slabs", "nf_conntrack")
    assert taken.before is not None
    assert taken.after is not None


def test_two_kernels_are_warned_of(opened: Opened) -> None:
    found = compare(opened("clash-stock-6.1"), opened("clash-lookalike-restored-6.12"))
    assert any(words.startswith("different kernels") for words in found.warnings)
    assert found.order.same_boot is False
    assert found.modules is not None
    assert {s.key for s in found.sections if s.rows} >= {"memory", "slabs", "tasks", "conntrack"}


LEAKS = {
    "oomslab": [("slabs", "kinds_order"), ("memory", "slab_unreclaimable")],
    "oompages": [("memory", "unaccounted")],
    "oomrss": [("memory", "anonymous"), ("names", "orders")],
    "oomtmpfs": [("memory", "shmem")],
    "oomvmalloc": [("memory", "vmalloc"), ("vmalloc", "leak_vmalloc [kinds]")],
    "oomcgroup": [("memory", "anonymous"), ("names", "orders")],
}
"""What samples/lab/kinds makes leak, and so the rows that have to come first."""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", LEAKS)
def test_what_leaks_is_what_grew_most(kind: str, kernel: str) -> None:
    plain, full = (full_folder(f"kind-{name}-{kernel}") for name in ("panic", kind))
    with (
        open_crash(plain / "vmcore", types="btf") as a,
        open_crash(full / "vmcore", types="btf") as b,
    ):
        found = compare(a, b)
    first = found.grew[: len(LEAKS[kind])]
    assert {(one.section, one.row.key) for one in first} == set(LEAKS[kind])
    for one in first:
        assert (one.row.numbers["bytes"].change or 0) > 10 * MIB
    for one in found.grew[len(first) :]:
        assert one.by == "count" or (one.row.numbers["bytes"].change or 0) < 6 * MIB


def test_debug_info_changes_no_number(opened: Opened) -> None:
    found = compare(opened("clash-stock-6.1"), opened("clash-stock-6.1", "dwarf"))
    assert found.order.same_boot is True
    assert [(s.key, row.key) for s in found.sections for row in s.rows if row.differs] == []
