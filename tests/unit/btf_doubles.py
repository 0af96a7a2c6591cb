"""A writer of small BTF blobs, record by record as in Documentation/bpf/btf.rst."""

from __future__ import annotations

import struct

from crashkit.symbols.btf import MAGIC, Blob, Kind


class BtfWriter:
    """Collects records; ids count from 1, or from the base's end."""

    def __init__(self, base: Blob | None = None) -> None:
        self.base = base
        self.strings = bytearray(b"\0") if base is None else bytearray()
        self.records: list[bytes] = []
        self.offsets: dict[str, int] = {}

    @property
    def next_id(self) -> int:
        return (self.base.end_id if self.base else 1) + len(self.records)

    def string(self, text: str) -> int:
        if not text:
            return 0
        if text not in self.offsets:  # once each, as pahole writes them
            start = self.base.string_end if self.base else 0
            self.offsets[text] = start + len(self.strings)
            self.strings += text.encode() + b"\0"
        return self.offsets[text]

    def add(
        self, kind: Kind, name: str, size_or_type: int, *words: int, vlen: int = 0, flag: int = 0
    ) -> int:
        number = self.next_id
        bits = flag << 31 | kind << 24 | vlen
        record = struct.pack("<III", self.string(name), bits, size_or_type)
        self.records.append(record + b"".join(struct.pack("<I", w & 0xFFFFFFFF) for w in words))
        return number

    def integer(self, name: str, size: int, *, signed: bool = False, boolean: bool = False) -> int:
        return self.add(Kind.INT, name, size, (signed | boolean << 2) << 24 | size * 8)

    def pointer(self, target: int) -> int:
        return self.add(Kind.PTR, "", target)

    def structure(self, name: str, size: int, *members: tuple[str, int, int], flag: int = 0) -> int:
        words = [w for text, type_id, bits in members for w in (self.string(text), type_id, bits)]
        return self.add(Kind.STRUCT, name, size, *words, vlen=len(members), flag=flag)

    def enumeration(self, name: str, *values: tuple[str, int], flag: int = 0) -> int:
        words = [w for text, value in values for w in (self.string(text), value)]
        return self.add(Kind.ENUM, name, 4, *words, vlen=len(values), flag=flag)

    def prototype(self, result: int, *parameters: tuple[str, int]) -> int:
        words = [w for text, type_id in parameters for w in (self.string(text), type_id)]
        return self.add(Kind.FUNC_PROTO, "", result, *words, vlen=len(parameters))

    def data(self) -> bytes:
        types = b"".join(self.records)
        strings = bytes(self.strings) or b"\0"
        header = struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(strings))
        return header + types + strings

    def blob(self, name: str = "vmlinux") -> Blob:
        return Blob(name, self.data(), self.base)
