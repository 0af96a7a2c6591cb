"""The extensions of a ``struct nf_conn``: what only some entries have.

``ct->ext`` points to a table of offsets, indexed by ``enum nf_ct_ext_id``, and the data
behind it. Which extensions a kernel has depends on its configuration, so the numbers come
from its enumerators.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping

from drgn import Object, Program, offsetof, sizeof

from crashkit.decode.fields import naming, text_at
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of
from crashkit.memory import is_kernel_address, read_bytes

PAGE = 4096
MAX_PAGES = 2048
"""Pages of extensions kept at a time."""
MAX_EXTENSION = 1024
"""Bytes of all extensions of an entry; ``len`` has one byte since v3.11, two before."""

Extensions = Mapping[str, object]
"""Name of an extension that an entry has to its value; True where it is only known to be there."""

Decoder = Callable[[int], object]


class ExtensionReader:
    """Reads extensions; pages of them are kept, since neighbours are asked for in turn."""

    def __init__(self, prog: Program) -> None:
        self.prog = prog
        self._pages: dict[int, bytes] = {}
        self._plans: dict[bytes, tuple[tuple[str, Decoder, int], ...]] = {}
        self._names: dict[int, str] = {}
        with naming("struct nf_ct_ext"):
            ext = Object(prog, "struct nf_ct_ext", address=0)
            self._table = offsetof(ext.type_, "offset")
            self._slots = sizeof(ext.offset) // sizeof(ext.offset[0])
            self._slot = "BH"[sizeof(ext.offset[0]) - 1]
            self._table_size = sizeof(ext.offset)
            identifiers = prog.type("enum nf_ct_ext_id").enumerators or ()
        self.kinds = {
            int(e.value): e.name.removeprefix("NF_CT_EXT_").lower()
            for e in identifiers
            if e.name != "NF_CT_EXT_NUM"
        }
        self._decoders = {name: self._decoder(name) for name in self.kinds.values()}

    def read(self, address: int) -> Extensions:
        """Read all extensions of an entry.

        :param address: ``struct nf_ct_ext *``; 0 is none
        :raises Unavailable: it is no kernel pointer, damaged, or not in the dump
        """
        if not address:
            return {}
        if not is_kernel_address(address):
            raise Unavailable("ct->ext", Reason.CORRUPTED, f"{address:#x} is no kernel address")
        table = self._bytes(address + self._table, self._table_size)
        plan = self._plans.get(table)
        if plan is None:
            plan = self._plans[table] = self._plan(table)
        return {name: decode(address + offset) for name, decode, offset in plan}

    def _plan(self, table: bytes) -> tuple[tuple[str, Decoder, int], ...]:
        offsets = struct.unpack(f"<{self._slots}{self._slot}", table)
        plan = []
        for number, offset in enumerate(offsets):
            if not offset:
                continue
            name = self.kinds.get(number)
            if name is None or not self._table_size <= offset < MAX_EXTENSION:
                raise Unavailable("ct->ext", Reason.CORRUPTED, f"extension {number} at {offset}")
            plan.append((name, self._decoders[name], offset))
        return tuple(plan)

    def _bytes(self, address: int, size: int) -> bytes:
        offset = address % PAGE
        if offset + size > PAGE:
            rest = PAGE - offset
            return self._bytes(address, rest) + self._bytes(address + rest, size - rest)
        page = self._pages.get(address - offset)
        if page is None:
            if len(self._pages) >= MAX_PAGES:
                self._pages.clear()
            page = read_bytes(self.prog, address - offset, PAGE, "extensions of a conntrack")
            self._pages[address - offset] = page
        return page[offset : offset + size]

    def _decoder(self, name: str) -> Decoder:
        make = _DECODERS.get(name)
        try:
            return _present if make is None else make(self)
        except (LookupError, Unavailable):
            return _present  # a type that these symbols do not describe

    def _numbers(self, ctype: str, *members: str) -> Callable[[int], tuple[int, ...]]:
        # A function that reads members of a type at an address, in one read.
        with naming(ctype):
            base = Object(self.prog, ctype, address=0)
            places = [offset_of(base.type_, name) for name in members]
            signs = [name.endswith(("before", "after")) for name in members]
            sizes = [sizeof(_member(base, name)) for name in members]
        end = max(at + size for at, size in zip(places, sizes, strict=True))
        parts = list(zip(places, sizes, signs, strict=True))

        def read(address: int) -> tuple[int, ...]:
            raw = self._bytes(address, end)
            return tuple(
                int.from_bytes(raw[at : at + size], "little", signed=signed)
                for at, size, signed in parts
            )

        return read

    def _accounting(self) -> Decoder:
        members = [f"counter[{way}].{what}" for way in (0, 1) for what in ("packets", "bytes")]
        read = self._numbers("struct nf_conn_acct", *members)

        def decode(address: int) -> object:
            packets, size, reply_packets, reply_size = read(address)
            return {
                "original": {"packets": packets, "bytes": size},
                "reply": {"packets": reply_packets, "bytes": reply_size},
            }

        return decode

    def _times(self) -> Decoder:
        read = self._numbers("struct nf_conn_tstamp", "start", "stop")
        return lambda address: dict(zip(("start_ns", "stop_ns"), read(address), strict=True))

    def _sequence(self) -> Decoder:
        names = ("correction_pos", "offset_before", "offset_after")
        reads = [
            self._numbers("struct nf_conn_seqadj", *(f"seq[{way}].{name}" for name in names))
            for way in (0, 1)
        ]

        def decode(address: int) -> object:
            ways = zip(("original", "reply"), reads, strict=True)
            return {way: dict(zip(names, read(address), strict=True)) for way, read in ways}

        return decode

    def _zone(self) -> Decoder:
        read = self._numbers("struct nf_conntrack_zone", "id")
        return lambda address: read(address)[0]

    def _labels(self) -> Decoder:
        with naming("struct nf_conn_labels"):
            size = sizeof(Object(self.prog, "struct nf_conn_labels", address=0).bits)

        def decode(address: int) -> object:
            bits = int.from_bytes(self._bytes(address, size), "little")
            return [bit for bit in range(bits.bit_length()) if bits >> bit & 1]

        return decode

    def _helper(self) -> Decoder:
        read = self._numbers("struct nf_conn_help", "helper")
        with naming("struct nf_conntrack_helper"):
            name = offset_of(self.prog.type("struct nf_conntrack_helper"), "name")

        def decode(address: int) -> object:
            (helper,) = read(address)
            if helper and helper not in self._names:
                self._names[helper] = text_at(self.prog, helper + name, 16)
            return self._names[helper] if helper else None

        return decode


def _member(obj: Object, path: str) -> Object:
    for name, index in re.findall(r"(\w+)(?:\[(\d+)\])?", path):
        obj = obj.member_(name)
        if index:
            obj = obj[int(index)]
    return obj


def _present(_address: int) -> object:
    return True


_DECODERS: Mapping[str, Callable[[ExtensionReader], Decoder]] = {
    "acct": ExtensionReader._accounting,
    "helper": ExtensionReader._helper,
    "labels": ExtensionReader._labels,
    "seqadj": ExtensionReader._sequence,
    "zone": ExtensionReader._zone,
    "tstamp": ExtensionReader._times,
}
