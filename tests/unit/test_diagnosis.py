"""What a bad value says by itself: near poison, text, levels of page tables."""

from __future__ import annotations

import pytest

from crashkit.fault.diagnosis import BadValue, diagnose
from crashkit.fault.model import Diagnosis

POISON1 = 0xDEAD_0000_0000_0100
POISON2 = 0xDEAD_0000_0000_0122
FREE = 0x6B6B_6B6B_6B6B_6B6B


def of(value: int, *, at: int | None = None, five_level: bool | None = False) -> Diagnosis:
    return diagnose(BadValue(name="p", value=value, faulted_at=at, five_level=five_level))


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (POISON1 + 0x20, "list-poison", "0x20 above LIST_POISON1"),
        (POISON1 - 8, "list-poison", "0x8 below LIST_POISON1"),
        (POISON2 + 0x10, "list-poison", "0x10 above LIST_POISON2"),
        (FREE + 0x28, "poison", "0x28 above POISON_FREE"),
        (FREE - 0x40, "poison", "0x40 below POISON_FREE"),
    ],
)
def test_members_and_containers_of_poison(value: int, kind: str, words: str) -> None:
    found = of(value)
    assert found.kind == kind
    assert words in found.statement
    assert found.evidence[0].startswith("~ ")


@pytest.mark.parametrize("value", [POISON1 + 1, POISON1 + 0x1000, FREE + 0x1000, FREE + 0x29])
def test_what_is_not_near_poison(value: int) -> None:
    assert of(value).kind in ("non-canonical", "ascii")


@pytest.mark.parametrize("value", [POISON1, POISON2, FREE, FREE & (1 << 56) - 1 | 0xA5 << 56])
def test_exact_poison_is_proved(value: int) -> None:
    found = of(value)
    assert "poison" in found.kind
    assert found.evidence == ()
    assert "above" not in found.statement


def test_null_as_a_member_of_its_container() -> None:
    found = of(0, at=(1 << 64) - 0x78)
    assert found.kind == "container-of-null"
    assert "0x78 bytes before it" in found.statement
    assert of(0, at=(1 << 64) - 0x2000).kind == "null"
    assert of(0, at=0).kind == "null"


def test_the_end_of_a_text() -> None:
    found = of(int.from_bytes(b"eth0.12", "little"))
    assert found.kind == "non-canonical"
    assert found.evidence == ("~ its bytes are the end of a text: 'eth0.12'",)
    assert of(int.from_bytes(b"eth01", "little")).kind == "user-pointer"
    assert of(int.from_bytes(b"eth0", "little")).evidence == ()
    assert of(0x0000_7FFF_1234_5678).evidence == ()


def test_levels_of_page_tables_are_evidence() -> None:
    found = of(0xFF11_0000_0000_1000)
    assert (found.kind, len(found.evidence)) == ("non-canonical", 1)
    assert of(0xFF11_0000_0000_1000, five_level=True).kind == "other"
    assert of(0x1234_5678_9ABC_DEF0).evidence == ()


@pytest.mark.parametrize(
    ("faulted_at", "kind"),
    [(0, "container-of-null"), (8, "container-of-null"), (0x30, "err-ptr"), (None, "err-ptr")],
)
def test_a_node_at_null_is_no_error(faulted_at: int | None, kind: str) -> None:
    # -16 is EBUSY, and where a structure begins whose node, 16 bytes into it, is at NULL.
    found = diagnose(BadValue(name="entry", value=(1 << 64) - 16, faulted_at=faulted_at))
    assert found.kind == kind
    assert "EBUSY" in found.statement
