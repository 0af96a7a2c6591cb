"""What a bad value says by itself."""

from __future__ import annotations

import pytest

from crashkit.fault import BadValue, diagnose, is_noncanonical
from tests.unit.test_fault import CT


@pytest.mark.parametrize(
    ("value", "addend", "kind"),
    [
        (0, 0, "null"),
        (0x10, 0, "null"),
        (0, -0x20, "container-of-null"),
        ((1 << 64) - 12, 0, "err-ptr"),
        ((1 << 64) - 4095, 0, "err-ptr"),
        ((1 << 64) - 0xF0, 0, "container-of-null"),
        ((1 << 64) - 4096, 0, "other"),
        (0xDEAD_0000_0000_0100, 0, "list-poison"),
        (0xDEAD_0000_0000_0122, 0, "list-poison"),
        (0xDEAD_0000_0010_0100, 0, "list-poison"),
        (0x6B6B_6B6B_6B6B_6B6B, 0, "poison"),
        (0xA56B_6B6B_6B6B_6B6B, 0, "poison"),
        (0x5A5A_5A5A_5A5A_5A5A, 0, "poison"),
        (0x6F6C_6C65_482F_3A41, 0, "ascii"),
        (0x1234_5678_9ABC_DEF0, 0, "non-canonical"),
        (0x0000_7FFF_0000_1000, 0, "user-pointer"),
        (0x1000, 0, "user-pointer"),
        (CT, 0, "other"),
    ],
)
def test_what_a_bad_value_says(value: int, addend: int, kind: str) -> None:
    assert diagnose(BadValue(name="p", value=value, addend=addend)).kind == kind


def test_text_in_a_pointer_is_escaped() -> None:
    statement = diagnose(BadValue(name="p", value=int.from_bytes(b"A:/Hello", "little"))).statement
    assert "A:/Hello" in statement


def test_paging_depth_decides_what_is_refused() -> None:
    between = 0x00FF_0000_0000_0000
    assert is_noncanonical(between, five_level=False, no_address=False)
    assert not is_noncanonical(between, five_level=True, no_address=True)
    assert is_noncanonical(between, five_level=None, no_address=True)
    assert not is_noncanonical(between, five_level=None, no_address=False)
    assert is_noncanonical(0x0100_0000_0000_0000, five_level=True, no_address=False)
    assert not is_noncanonical(CT, five_level=False, no_address=True)
