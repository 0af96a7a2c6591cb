"""Whole aligned words out of what a dump has of a range."""

from __future__ import annotations

import drgn
from drgn import Program

from crashkit.memory import words_between

START = 0xFFFF_C900_0000_0000


def program(*pieces: tuple[int, int]) -> Program:
    """Memory whose every byte is its own address's lowest; pieces are offset and size."""
    prog = Program(drgn.Platform(drgn.Architecture.X86_64))
    for offset, size in pieces:
        prog.add_memory_segment(
            START + offset,
            size,
            lambda address, count, _offset, _physical: bytes(
                (address + n) & 0xFF for n in range(count)
            ),
        )
    return prog


def word(offset: int) -> tuple[int, int]:
    return START + offset, int.from_bytes(bytes(range(offset, offset + 8)), "little")


def test_all_of_a_whole_range() -> None:
    assert list(words_between(program((0, 64)), START, START + 24)) == [word(0), word(8), word(16)]


def test_pieces_that_begin_and_end_within_a_word() -> None:
    prog = program((3, 22), (40, 12))  # 3 to 25, 40 to 52
    assert list(words_between(prog, START, START + 64)) == [word(8), word(16), word(40)]


def test_nothing_of_what_is_not_there() -> None:
    assert list(words_between(program((128, 8)), START, START + 64)) == []
