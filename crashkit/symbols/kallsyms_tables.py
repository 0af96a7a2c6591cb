"""The kernel's own symbol table, found by its structure and decoded.

Since Linux 6.0 VMCOREINFO says where its parts are; before, nothing does. They are found by
what they must be, not by a kernel's version (scripts/kallsyms.c writes them,
kernel/kallsyms.c reads them):

- ``token_table``: 256 strings, of which those numbered like the characters ``0`` to ``9`` are
  these characters, and ``token_index``, 256 offsets into it, right behind;
- ``markers``, right before, or with the order by name between: where each 256th name starts;
  64-bit numbers before Linux 4.20
  (80ffbaa5b1bd, "kallsyms: reduce size a little on 64-bit"), then 32-bit ones;
- ``names``, before them: a length and so many token numbers for each symbol, and before
  these ``num_syms``;
- the addresses: 64-bit numbers, or 32-bit offsets and what they count from (2213e9a66bb8,
  "kallsyms: add support for relative offsets in kallsyms address table"). They come first;
  since 404bad70fcf7 ("scripts/kallsyms: change the output order") they come last.

What is found must hold as a whole: every name decodes, each 256th starts where its marker
says, and no address is below the one before.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterator
from itertools import islice, pairwise

from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_TOKENS = 256
_STEP = 256
"""Names from one marker to the next."""
_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_ZERO = ord("0")
_MAX_TOKEN_TABLE = 1 << 16
_MAX_NAME = 512
"""KSYM_NAME_LEN since 6.1 (b8a94bfb3395); a compressed name is not longer than the name."""
_MAX_SYMBOLS = 1 << 20
"""Distributions' kernels have 100,000 to 250,000."""
_MOST_WORK = 3 << 20
_WORK_OF_DIGITS, _WORK_OF_COUNTS = 1 << 9, 1 << 14
_LETTERS = frozenset(b"ABCDGINRSTUVWabcdginprstuvw-?")
"""What nm(1) calls a symbol; the first character of each name."""
_INDEX_SIZE = 2 * _TOKENS


@facts
class Tables:
    """A whole symbol table, by address."""

    names: tuple[str, ...]
    """Without the letter; bytes that are not ASCII are escaped."""
    letters: str
    """nm(1)'s letter of each."""
    addresses: array[int]
    """As the kernel ran; those of per-CPU symbols up to Linux 6.14 count from 0."""


_Tokens = tuple[int, int, list[bytes]]
"""Start of the table, start of the index, tokens."""


@facts
class _Names:
    # Where things are in the piece of memory, and the names.
    count_at: int
    index_end: int
    names: tuple[str, ...]
    letters: str


class Search:
    """A search of memory, piece by piece, for symbol tables.

    :ivar tables: whole ones; of one table as many as there are readings of its addresses
    :ivar candidates: sets of tokens, each of a table that may be there in part only
    """

    def __init__(self) -> None:
        self.tables: list[Tables] = []
        self.candidates = 0
        self._work = _Work(_MOST_WORK)

    def add(self, data: bytes | bytearray) -> None:
        """Search a piece of memory that starts at a multiple of 8.

        Nothing is decoded from the second set of tokens on: which one is meant is not known.

        :raises Unavailable: memory is full of what looks like parts of tables
        """
        place = data.find(_DIGITS)
        while place >= 0:
            self._work.spend(_WORK_OF_DIGITS)
            tokens = _tokens_around(data, place)
            if tokens is not None:
                self.candidates += 1
                if self.candidates == 1:
                    self.tables += _tables(data, tokens, self._work)
            place = data.find(_DIGITS, place + 1)


class _Work:
    # What a search may still cost, in names decoded: memory may be made to look like tables.

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, names: int) -> None:
        self._left -= names
        if self._left < 0:
            detail = "memory is full of what looks like parts of them"
            raise Unavailable("kallsyms", Reason.BUDGET, detail)


def _tables(data: bytes | bytearray, tokens: _Tokens, work: _Work) -> Iterator[Tables]:
    for found in _names_around(data, tokens, work):
        for addresses in _addresses(data, found):
            if addresses and _is_rising(addresses):
                yield Tables(names=found.names, letters=found.letters, addresses=addresses)


def _names_around(data: bytes | bytearray, found: _Tokens, work: _Work) -> Iterator[_Names]:
    table_at, index_at, tokens = found
    for markers_at, markers in _markers(data, table_at):
        work.spend(_WORK_OF_COUNTS)
        for count_at in _counts_before(data, markers_at, markers):
            count = int.from_bytes(data[count_at : count_at + 8], "little")
            decoded = _decode(data[count_at + 8 : markers_at], count, markers, tokens, work)
            if decoded is not None:
                names, letters = decoded
                index_end = index_at + _INDEX_SIZE
                yield _Names(count_at=count_at, index_end=index_end, names=names, letters=letters)
                return  # one reading of these tokens holds to the last name: no other can


def _markers(data: bytes | bytearray, table_at: int) -> Iterator[tuple[int, list[int]]]:
    for width in 4, 8:
        at, markers = _markers_before(data, table_at, width)
        if markers:
            yield at, markers
    for end in _ends_before_order(data, table_at):
        at, markers = _markers_before(data, end, 4)
        # As many bytes as stand behind are three for each name.
        if markers and len(markers) - 1 <= (table_at - end) // (3 * _STEP) <= len(markers):
            yield at, markers


def _ends_before_order(data: bytes | bytearray, table_at: int) -> Iterator[int]:
    # In 6.2 to 6.4, and where that was backported, three bytes for each name stand between:
    # their order by name (60443c88f3a8, "kallsyms: Improve the performance of
    # kallsyms_lookup_name()"). Where the first marker then is, is zero.
    for end in range(table_at - 8, max(0, table_at - 3 * _MAX_SYMBOLS), -8):
        first = end - _aligned(4 * (-(-(table_at - end) // 3 // _STEP)))
        if first > 0 and data[first : first + 4] == b"\0\0\0\0" != data[first + 4 : first + 8]:
            yield end


def _tokens_around(data: bytes | bytearray, digits_at: int) -> _Tokens | None:
    end = digits_at
    for _ in range(_TOKENS - _ZERO):
        end = data.find(b"\0", end, digits_at + _MAX_TOKEN_TABLE) + 1
        if not end:
            return None
    index_at = _aligned(end)
    index = array("H")
    raw = data[index_at : index_at + _INDEX_SIZE]
    if len(raw) < _INDEX_SIZE or any(data[end:index_at]):
        return None
    index.frombytes(raw)
    start = digits_at - index[_ZERO]
    if start < 0 or start % 8 or index[0] or not _is_rising(index):
        return None
    bounds = [*index, end - start]
    tokens = []
    for first, last in pairwise(bounds):
        token = data[start + first : start + last]
        if token.find(b"\0") != len(token) - 1:
            return None
        tokens.append(bytes(token[:-1]))
    return start, index_at, tokens


def _markers_before(data: bytes | bytearray, end: int, width: int) -> tuple[int, list[int]]:
    # From the last one, behind which zeros may fill up to a multiple of 8, down to the first: 0.
    markers: list[int] = []
    at = end - width
    if at >= 0 and width < 8 and not any(data[at:end]):
        at -= width
    while at >= 0 and len(markers) <= _MAX_SYMBOLS // _STEP:
        number = int.from_bytes(data[at : at + width], "little")
        if markers and number >= markers[-1]:
            break
        markers.append(number)
        if number == 0:
            markers.reverse()
            return (at, markers) if at % 8 == 0 else (0, [])
        at -= width
    return 0, []


def _counts_before(data: bytes | bytearray, end: int, markers: list[int]) -> Iterator[int]:
    # Places where a number of symbols that fits the markers stands before names that could be.
    longest = _STEP * (_MAX_NAME + 2)
    first = max(0, end - markers[-1] - longest - 8)
    for at in range(end - _aligned(markers[-1]) - 8, first, -8):
        count = int.from_bytes(data[at : at + 8], "little")
        if 0 < count <= _MAX_SYMBOLS and -(-count // _STEP) == len(markers):
            yield at


def _decode(
    data: bytes | bytearray, count: int, markers: list[int], tokens: list[bytes], work: _Work
) -> tuple[tuple[str, ...], str] | None:
    # The names fill the data, but for zeros up to a multiple of 8.
    names: list[bytes] = []
    at, size = 0, len(data)
    token = tokens.__getitem__
    for number in range(count):
        if not number % _STEP:
            work.spend(_STEP)
            if markers[number // _STEP] != at:
                return None
        if at >= size:
            return None
        length = data[at]
        at += 1
        if length >= 0x80 and at < size:
            # Longer than 127 (73bbb94466fd, "kallsyms: support big kernel symbols").
            length = length & 0x7F | data[at] << 7
            at += 1
        end = at + length
        if not 0 < length <= _MAX_NAME or end > size:
            return None
        names.append(b"".join(map(token, data[at:end])))
        at = end
    if _aligned(at) != size or any(data[at:]):
        return None
    letters = bytes(name[0] for name in names if name)
    if len(letters) < count or not _LETTERS.issuperset(letters):
        return None
    # One decode for all: a newline is in no name, else there would be one more.
    text = b"\n".join([name[1:] for name in names]).decode("ascii", "backslashreplace")
    shown = tuple(text.split("\n"))
    return (shown, letters.decode("ascii")) if len(shown) == count else None


def _addresses(data: bytes | bytearray, found: _Names) -> Iterator[array[int]]:
    count = len(found.names)
    offsets_size = _aligned(4 * count)
    before, after = found.count_at - 8, _aligned(found.index_end)
    for offsets_at, base_at in (before - offsets_size, before), (after, after + offsets_size):
        if offsets_at >= 0 and base_at + 8 <= len(data):
            raw = data[offsets_at : offsets_at + 4 * count]
            base = int.from_bytes(data[base_at : base_at + 8], "little")
            yield _from_base(base, raw)
            yield _from_base_or_absolute(base, raw)
    for start in found.count_at - 8 * count, after:
        if start >= 0 and start + 8 * count <= len(data):
            whole = array("Q")
            whole.frombytes(data[start : start + 8 * count])
            yield whole


def _from_base(base: int, raw: bytes | bytearray) -> array[int]:
    offsets = array("I")
    offsets.frombytes(raw)
    if base + max(offsets) >= 1 << 64:
        return array("Q")
    return array("Q", [base + offset for offset in offsets])


def _from_base_or_absolute(base: int, raw: bytes | bytearray) -> array[int]:
    # CONFIG_KALLSYMS_ABSOLUTE_PERCPU: what is not negative is an address, what is counts down.
    offsets = array("i")
    offsets.frombytes(raw)
    if min(offsets) >= 0 or base - 1 - min(offsets) >= 1 << 64:
        return array("Q")  # as the other form then, or none
    return array("Q", [offset if offset >= 0 else base - 1 - offset for offset in offsets])


def _is_rising(numbers: array[int]) -> bool:
    return all(map(operator.le, numbers, islice(numbers, 1, None)))


def _aligned(size: int) -> int:
    return (size + 7) & ~7
