"""One DWARF 4 compilation unit, written entry by entry.

A type is referred to by a number, before or after its entry is written; the offsets are
put in at the end.
"""

from __future__ import annotations

import struct
from array import array

from crashkit.errors import Reason, Unavailable
from crashkit.symbols import dwarf_shapes as shapes
from crashkit.symbols.dwarf_shapes import END, abbreviations

_HEADER = struct.Struct("<IHIB")  # unit_length, version, abbreviations, address size
_LENGTH_BYTES = 4  # unit_length does not count itself
_VERSION = 4
_C99 = 0x0C  # DW_LANG_C99
_U32 = struct.Struct("<I")
_RANGE = struct.Struct("<QQ")
VOID = 0
"""The number of ``void``, which has no entry; as in BTF."""


class DwarfWriter:
    """Collects one unit.

    :ivar out: ``.debug_info`` so far; entries are appended to it
    :ivar references: where in ``out`` a type's number stands instead of its offset
    """

    def __init__(
        self, strings: bytes, types: int, *, producer: str, name: str, text: list[tuple[int, int]]
    ) -> None:
        """Begin the unit.

        :param strings: NUL-terminated strings that entries name by their offset
        :param types: numbers below this are the caller's, for :meth:`place`
        :param text: [start, end) of the unit's code, lowest first
        """
        self.out = bytearray(_HEADER.size)
        self.references = array("I")
        self._strings = bytearray(strings)
        self._offsets = array("I", bytes(4 * types))
        self._aliases: list[tuple[int, int]] = []
        self._text = text
        low = text[0][0] if text else 0
        words = (self.string(producer), _C99, self.string(name), low, 0)
        self.out += shapes.UNIT(*words)

    def string(self, text: str) -> int:
        """Add a string; returns its offset."""
        offset = len(self._strings)
        self._strings += text.encode("utf-8", "backslashreplace") + b"\0"
        return offset

    def new_type(self) -> int:
        """Return a number for a type that the caller did not count."""
        self._offsets.append(0)
        return len(self._offsets) - 1

    def place(self, type_id: int) -> None:
        """Say that this type's entry comes next."""
        self._offsets[type_id] = len(self.out)

    def alias(self, type_id: int, target: int) -> None:
        """Say that a type is another one, which has its entry."""
        self._aliases.append((type_id, target))

    def refer(self, entry: bytes) -> None:
        """Add an entry whose last field is a type's number."""
        self.out += entry
        self.references.append(len(self.out) - _U32.size)

    def sections(self) -> dict[str, bytes]:
        """Return the finished sections by name.

        :raises Unavailable: an entry refers to a type that has none
        """
        self.out += END
        self._resolve()
        size = len(self.out) - _LENGTH_BYTES
        _HEADER.pack_into(self.out, 0, size, _VERSION, 0, 8)
        return {
            ".debug_info": bytes(self.out),
            ".debug_abbrev": abbreviations(),
            ".debug_str": bytes(self._strings),
            ".debug_ranges": self._ranges(),
        }

    def _resolve(self) -> None:
        offsets, out = self._offsets, self.out
        for type_id, target in reversed(self._aliases):  # tags came first, and may be of those
            offsets[type_id] = offsets[target]
        read, write = _U32.unpack_from, _U32.pack_into
        count = len(offsets)
        for at in self.references:
            (type_id,) = read(out, at)
            offset = offsets[type_id] if type_id < count else 0
            if not offset:
                detail = f"type {type_id} is referred to and is none"
                raise Unavailable("BTF of vmlinux", Reason.CORRUPTED, detail)
            write(out, at, offset)

    def _ranges(self) -> bytes:
        # Relative to DW_AT_low_pc of the unit (DWARF 4, 2.17.3).
        low = self._text[0][0] if self._text else 0
        pairs = [_RANGE.pack(start - low, end - low) for start, end in self._text]
        return b"".join(pairs) + _RANGE.pack(0, 0)
