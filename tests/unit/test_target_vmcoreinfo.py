from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crashkit.errors import Reason, Unavailable
from crashkit.target.vmcoreinfo import MAX_BYTES, escape, has_garbage_build_id, parse
from tests.unit.target_doubles import BUILD_ID, RELEASE, vmcoreinfo


def test_typed_values() -> None:
    info = parse(
        vmcoreinfo(
            CRASHTIME="1700000000",
            KERNELOFFSET="2d000000",
            **{
                "SYMBOL(init_uts_ns)": "ffffffffafbf9b60",
                "OFFSET(uts_namespace.name)": "010",
                "SIZE(page)": "64",
                "LENGTH(mem_section)": "2048",
                "NUMBER(phys_base)": "-681574400",
                "NUMBER(VMALLOC_START)": "0xffffc90000000000",
            },
        )
    )
    assert info.release == RELEASE
    assert info.build_id == BUILD_ID
    assert info.crash_time == 1700000000
    assert info.page_size == 4096
    assert info.kernel_offset == 0x2D000000
    assert info.symbol("init_uts_ns") == 0xFFFFFFFFAFBF9B60
    assert info.offset("uts_namespace.name") == 10
    assert info.size("page") == 64
    assert info.length("mem_section") == 2048
    assert info.number("phys_base") == -681574400
    assert info.number("VMALLOC_START") == 0xFFFFC90000000000
    assert info["OSRELEASE"] == RELEASE
    assert info.warnings == ()


def test_absent_and_garbled_values_say_which() -> None:
    info = parse(vmcoreinfo(**{"SYMBOL(x)": "0xzz", "OFFSET(a.b)": "-1", "NUMBER(n)": "12 "}))
    with pytest.raises(Unavailable, match=r"SYMBOL\(y\)") as absent:
        info.symbol("y")
    assert absent.value.reason is Reason.NOT_IN_DUMP
    for look_up, name in ((info.symbol, "x"), (info.offset, "a.b"), (info.number, "n")):
        with pytest.raises(Unavailable) as garbled:
            look_up(name)
        assert garbled.value.reason is Reason.CORRUPTED


def test_non_ascii_digits_are_not_numbers() -> None:
    info = parse("OSRELEASE=6.1\nOFFSET(a.b)=\u0661\u0662\nCRASHTIME=\u0661\n".encode())
    assert info.crash_time is None
    with pytest.raises(Unavailable):
        info.offset("a.b")


@pytest.mark.parametrize("text", ["xyz", "abc", "00" * 65, "0123 4567"])
def test_garbled_build_id_is_unknown_and_warned_of(text: str) -> None:
    info = parse(vmcoreinfo(**{"BUILD-ID": text}))
    assert info.build_id is None
    assert any("BUILD-ID is garbled" in warning for warning in info.warnings)


@pytest.mark.parametrize(
    ("release", "garbage"),
    [
        ("6.1.112", False),
        ("6.1.113-amd64", True),
        ("6.1.118", True),
        ("6.1.119", False),
        ("6.1.0-28-amd64", False),
        ("6.11.3", True),
        ("6.11.10", False),
        ("5.15.170", True),
        ("6.12.1", False),
        ("nonsense", False),
    ],
)
def test_kernels_that_write_a_wrong_build_id(release: str, garbage: bool) -> None:
    assert has_garbage_build_id(release) is garbage
    info = parse(vmcoreinfo(OSRELEASE=release))
    assert (info.build_id is None) is garbage
    assert bool(info.warnings) is garbage


def test_hostile_text_is_escaped() -> None:
    info = parse(b"OSRELEASE=6.1\x1b[31m\xff\nBUILD-ID=00\n")
    assert info.release == r"6.1\x1b[31m\xff"
    assert escape(b"a\n\x7f") == r"a\x0a\x7f"


def test_missing_release_and_junk_lines_are_warned_of() -> None:
    info = parse(b"junk\n=x\nBUILD-ID=" + b"00" * 20 + b"\n" + b"A=" + b"b" * 5000 + b"\n")
    assert info.release is None
    assert list(info) == ["BUILD-ID"]
    assert info.warnings == (
        "VMCOREINFO is garbled: 3 lines are not KEY=value",
        "VMCOREINFO has no OSRELEASE: the kernel release is not known",
    )


def test_text_ends_at_the_first_nul_and_is_bounded() -> None:
    assert list(parse(b"A=1\n\0B=2\n")) == ["A"]
    long = parse(b"A=1\n" * MAX_BYTES)
    assert list(long) == ["A"]
    assert "only" in long.warnings[0]


@given(st.binary(max_size=3000))
def test_any_bytes_give_printable_text(raw: bytes) -> None:
    info = parse(raw)
    for key, value in info.items():
        assert (key + value).isascii()
        assert (key + value).isprintable()
    assert info.build_id is None or bytes.fromhex(info.build_id)
