"""Any bytes give a Target or one sentence, in bounded time."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.errors import CrashkitError
from crashkit.target.facts import Target
from crashkit.target.identification import identify_source
from crashkit.target.source import FileSource
from tests.unit.target_doubles import (
    ZLIB,
    Kdump,
    elf_core,
    flattened,
    page,
    qemu_kdump,
    vmcoreinfo,
)

BOUND = settings(max_examples=300, deadline=timedelta(milliseconds=1500))
SEEDS = [
    elf_core(),
    Kdump(pages={frame: page(frame) for frame in range(1, 20)}).build(),
    flattened(elf_core()),
    flattened(Kdump(pages={1: page(1)}).build()),
    Kdump(pages={1: page(1), 2: page(2)}, status=ZLIB | 8, lost=frozenset({2})).build(),
    qemu_kdump({1: page(1), 3: page(3)}),
    flattened(qemu_kdump({1: vmcoreinfo(**{"SYMBOL(init_uts_ns)": "1"}).ljust(4096, b"\0")})),
]
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF]


def check(data: bytes) -> None:
    descriptor = os.memfd_create("dump")
    os.write(descriptor, data)
    try:
        with FileSource(descriptor, "vmcore") as file:
            target = identify_source(file)
    except CrashkitError as error:
        assert str(error).startswith("vmcore ")
        assert str(error).isprintable()
        return
    assert isinstance(target, Target)
    if target.file is not None:  # a copy, which is the caller's
        os.close(int(target.file.rpartition("/")[2]))
    assert target.missing_bytes >= 0
    for text in (*target.vmcoreinfo.values(), *target.warnings, target.nodename or ""):
        assert text.isprintable()


@BOUND
@given(st.binary(max_size=4096))
def test_random_bytes(data: bytes) -> None:
    check(data)


@BOUND
@given(
    st.sampled_from(
        [
            b"\x7fELF\x02\x01",
            b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\0\x3e\0",
            b"KDUMP   ",
            b"makedumpfile\0\0\0\0" + (bytes(7) + b"\1") * 2,
        ]
    ),
    st.binary(max_size=9000),
)
def test_random_bytes_behind_a_magic(magic: bytes, data: bytes) -> None:
    check(magic + data)


@BOUND
@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 600), st.integers(4096, 4300), st.integers(0, 30000)),
            st.one_of(st.sampled_from(EXTREMES), st.integers(0, 255)),
            st.integers(1, 8),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 40000),
)
def test_mutated_headers(seed: bytes, changes: list[tuple[int, int, int]], end: int) -> None:
    data = bytearray(seed)
    for place, byte, count in changes:
        data[place : place + count] = bytes([byte]) * count
    check(bytes(data[: end or None]))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_cut_of_the_headers(seed: bytes) -> None:
    for end in range(0, min(len(seed), 9000), 37):
        check(seed[:end])
