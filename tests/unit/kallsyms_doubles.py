"""Symbol tables as scripts/kallsyms.c lays them out, in each of its forms."""

from __future__ import annotations

import struct
from dataclasses import dataclass

BASE = 0xFFFF_FFFF_9B60_0000
"""Where the image is in memory."""
STEP = 256


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to lay a table out."""

    marker: str = "I"
    """Of struct: ``I`` since Linux 4.20, ``Q`` before."""
    addresses: str = "per-cpu"
    """``per-cpu``, ``base``, or ``whole`` numbers."""
    last: bool = False
    """Whether the addresses come last, as since Linux 6.4."""
    order: bool = False
    """Whether the order by name stands before the tokens, as in 6.2 and 6.3."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A symbol to put into a table."""

    name: str
    address: int
    letter: str = "T"


def entries(count: int) -> list[Entry]:
    """Make symbols, by address: two per-CPU ones, ``_stext``, functions, data, the banner."""
    made = [Entry(name="__per_cpu_start", address=0, letter="A")]
    made.append(Entry(name="cpu_number", address=0x10, letter="d"))
    made.append(Entry(name="_stext", address=BASE))
    made += [
        Entry(name=f"function_{n}", address=BASE + 0x10 + 16 * n, letter="tT"[n % 2])
        for n in range(count - 5)
    ]
    made.append(Entry(name="linux_banner", address=BASE + 0x40_0000, letter="R"))
    made.append(Entry(name="init_uts_ns", address=BASE + 0x50_0000, letter="D"))
    return made


def table(symbols: list[Entry], form: Form | None = None) -> bytes:
    """Lay out the symbols, which must be in the order of their addresses."""
    form = form or Form()
    tokens = _tokens()
    names, markers = b"", []
    for number, symbol in enumerate(symbols):
        if number % STEP == 0:
            markers.append(len(names))
        packed = _packed(symbol.letter + symbol.name, tokens)
        assert len(packed) < 1 << 14
        size = [len(packed)] if len(packed) < 128 else [len(packed) & 127 | 128, len(packed) >> 7]
        names += bytes([*size, *packed])
    index, strings = [], b""
    for token in tokens:
        index.append(len(strings))
        strings += token.encode() + b"\0"
    addresses = _addresses(symbols, form)
    body = [
        struct.pack("<I", len(symbols)),
        names,
        struct.pack(f"<{len(markers)}{form.marker}", *markers),
        b"\x7f" * 3 * len(symbols) if form.order else b"",
        strings,
        struct.pack("<256H", *index),
    ]
    parts = [*body, *addresses] if form.last else [*addresses, *body]
    return b"".join(part + bytes(-len(part) % 8) for part in parts)


def _addresses(symbols: list[Entry], form: Form) -> list[bytes]:
    if form.addresses == "whole":
        return [struct.pack(f"<{len(symbols)}Q", *(s.address for s in symbols))]
    if form.addresses == "base":
        base = min(s.address for s in symbols)
        offsets = struct.pack(f"<{len(symbols)}I", *(s.address - base for s in symbols))
        return [offsets, struct.pack("<Q", base)]
    numbers = [s.address if s.address < BASE else BASE - 1 - s.address for s in symbols]
    return [struct.pack(f"<{len(symbols)}i", *numbers), struct.pack("<Q", BASE)]


def _tokens() -> list[str]:
    # A character stands for itself; the numbers that no name has characters for are pairs.
    tokens = [chr(n) for n in range(256)]
    pairs = [a + b for a in "fuvwxyz" for b in "nctio_aeu0123456789"]
    free = [n for n in range(256) if not (0x30 <= n < 0x3A or chr(n).isalpha() or n in b"_.$?")]
    for number, pair in zip(free, pairs, strict=False):
        tokens[number] = pair
    for number in range(128, 256):
        tokens[number] = pairs[number % len(pairs)]
    return tokens


def _packed(name: str, tokens: list[str]) -> bytes:
    numbers = {token: number for number, token in reversed(list(enumerate(tokens)))}
    packed, at = [], 0
    while at < len(name):
        size = 2 if name[at : at + 2] in numbers and at else 1
        packed.append(numbers[name[at : at + size]])
        at += size
    return bytes(packed)
