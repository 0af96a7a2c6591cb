"""BTF as bytes: a checked index over one blob of the kernel's type records.

Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h. A blob comes out of a
crashed kernel's memory, so nothing in it is trusted: every offset and id is checked
once while the index is made, or where it is used.
"""

from __future__ import annotations

import enum
import struct
from array import array
from dataclasses import dataclass

from crashkit.errors import Reason, Unavailable

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_MAX_SIZE = 256 << 20


class Kind(enum.IntEnum):
    """``BTF_KIND_*``."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Words after the three of struct btf_type: fixed, and for each of vlen elements.
_FIXED = [0] * 20
_EACH = [0] * 20
_FIXED[Kind.INT] = 1
_FIXED[Kind.ARRAY] = 3
_FIXED[Kind.VAR] = 1
_FIXED[Kind.DECL_TAG] = 1
_EACH[Kind.STRUCT] = _EACH[Kind.UNION] = 3
_EACH[Kind.ENUM] = _EACH[Kind.FUNC_PROTO] = 2
_EACH[Kind.DATASEC] = _EACH[Kind.ENUM64] = 3

# Kinds that are looked up by name.
_NAMED = frozenset(
    {
        Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FWD, Kind.TYPEDEF,
        Kind.FUNC, Kind.VAR, Kind.DATASEC, Kind.FLOAT, Kind.ENUM64,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One ``struct btf_type`` and the words behind it."""

    id: int
    kind: Kind
    name_offset: int
    vlen: int
    flag: bool
    """``kind_flag``."""
    size_or_type: int
    words: array[int]
    """The fixed and per-element words that follow, unsigned."""


class Blob:
    """One BTF blob: vmlinux's own, or a module's, which continues its base's ids.

    :ivar name: ``vmlinux`` or the module
    :ivar start_id: id of the first record here; 1 without a base
    """

    def __init__(self, name: str, data: bytes, base: Blob | None = None) -> None:
        """Check and index ``data``.

        :raises Unavailable: reason ``corrupted`` or ``unsupported``
        """
        self.name = name
        self.base = base
        self.start_id: int = base.end_id if base else 1
        self._string_start: int = base.string_end if base else 0
        self._words, self._strings = _sections(name, data)
        self.string_end: int = self._string_start + len(self._strings)
        self._positions, self._kinds = _records(name, self._words)
        self.end_id: int = self.start_id + len(self._positions)
        self._offset_of: dict[bytes, int] | None = None
        self._ids_by_offset: dict[int, list[int]] | None = None

    def record(self, type_id: int) -> Record:
        """Return the record with this id, here or in the base.

        :raises Unavailable: no such id
        """
        if type_id < self.start_id and self.base is not None:
            return self.base.record(type_id)
        index = type_id - self.start_id
        if type_id < 1 or index >= len(self._positions):
            raise _corrupted(self.name, f"no type id {type_id}")
        at = self._positions[index]
        name_offset, bits, size_or_type = self._words[at : at + 3]
        kind = (bits >> 24) & 0x1F
        vlen = bits & 0xFFFF
        end = at + 3 + _FIXED[kind] + _EACH[kind] * vlen
        words = self._words[at + 3 : end]
        return Record(type_id, Kind(kind), name_offset, vlen, bool(bits >> 31), size_or_type, words)

    def string(self, offset: int) -> str:
        """Return the string at ``offset``; non-ASCII bytes are escaped.

        :raises Unavailable: outside the string section
        """
        if offset < self._string_start and self.base is not None:
            return self.base.string(offset)
        at = offset - self._string_start
        if not 0 <= at < len(self._strings):
            raise _corrupted(self.name, f"string offset {offset}")
        end = self._strings.find(b"\0", at)
        return self._strings[at:end].decode("ascii", "backslashreplace")

    @property
    def strings(self) -> bytes:
        """The blob's own string section."""
        return self._strings

    def ids_named(self, name: str) -> list[int]:
        """Return the ids of the records *of this blob* that bear ``name``."""
        index = self._by_offset()
        return [
            type_id for offset in self.string_offsets(name) for type_id in index.get(offset, ())
        ]

    def string_offsets(self, name: str) -> list[int]:
        """Return the offsets at which ``name`` stands in this blob's strings and its base's."""
        wanted = name.encode()
        own = self._find_string(wanted)
        shared = self.base.string_offsets(name) if self.base is not None else []
        return shared if own is None else [own, *shared]

    def ids_of_kind(self, *kinds: Kind) -> list[int]:
        """Return the ids of all records of this blob of these kinds."""
        found = []
        for kind in kinds:
            at = self._kinds.find(kind)
            while at >= 0:
                found.append(self.start_id + at)
                at = self._kinds.find(kind, at + 1)
        return sorted(found)

    def _find_string(self, wanted: bytes) -> int | None:
        if self._offset_of is None:
            offsets: dict[bytes, int] = {}
            at = self._string_start
            for text in self._strings.split(b"\0"):
                offsets.setdefault(text, at)
                at += len(text) + 1
            self._offset_of = offsets
        return self._offset_of.get(wanted)

    def _by_offset(self) -> dict[int, list[int]]:
        if self._ids_by_offset is not None:
            return self._ids_by_offset
        found: dict[int, list[int]] = {}
        words = self._words
        named = [kind in _NAMED for kind in range(20)]
        type_id = self.start_id
        for at, kind in zip(self._positions, self._kinds, strict=True):
            if named[kind]:
                offset = words[at]
                if offset in found:
                    found[offset].append(type_id)
                else:
                    found[offset] = [type_id]
            type_id += 1
        self._ids_by_offset = found
        return found


def _corrupted(name: str, detail: str) -> Unavailable:
    return Unavailable(f"BTF of {name}", Reason.CORRUPTED, detail)


def _sections(name: str, data: bytes) -> tuple[array[int], bytes]:
    # Split a blob into its type words and its strings.
    if len(data) < _HEADER.size or len(data) > _MAX_SIZE:
        raise _corrupted(name, f"{len(data)} bytes")
    magic, version, _flags, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _corrupted(name, f"magic {magic:#x}, not {MAGIC:#x}")
    if version != 1:
        raise Unavailable(f"BTF of {name}", Reason.UNSUPPORTED, f"version {version}")
    types, strings = header + type_off, header + str_off
    inside = types + type_len <= len(data) and strings + str_len <= len(data)
    if header < _HEADER.size or type_off % 4 or type_len % 4 or not inside:
        raise _corrupted(name, "sections lie outside the blob")
    text = data[strings : strings + str_len]
    if not text.endswith(b"\0"):
        raise _corrupted(name, "strings do not end")
    words = array("I")
    words.frombytes(data[types : types + type_len])
    return words, text


def _records(name: str, words: array[int]) -> tuple[list[int], bytes]:
    # Index of each record's first word, and each record's kind.
    fixed, each = _FIXED, _EACH
    positions: list[int] = []
    kinds = bytearray()
    add, add_kind = positions.append, kinds.append
    at, end = 0, len(words)
    while at + 3 <= end:
        bits = words[at + 1]
        kind = (bits >> 24) & 0x1F
        if not 1 <= kind <= 19:
            raise Unavailable(f"BTF of {name}", Reason.UNSUPPORTED, f"kind {kind}")
        add(at)
        add_kind(kind)
        at += 3 + fixed[kind] + each[kind] * (bits & 0xFFFF)
    if at != end:
        raise _corrupted(name, "the last record is cut")
    return positions, bytes(kinds)
