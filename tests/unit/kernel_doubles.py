"""A kernel made by hand: types, memory with holes, variables and symbols for drgn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drgn import (
    Architecture,
    FaultError,
    Object,
    Platform,
    Program,
    Symbol,
    SymbolBinding,
    SymbolKind,
    Type,
    TypeEnumerator,
    TypeKind,
    TypeMember,
    sizeof,
)

PAGE = 4096
KERNEL_HALF = 0xFFFF_8000_0000_0000
DIRECT_MAP = 0xFFFF_8880_0000_0000

Member = tuple[str, str, int] | tuple[str, str, int, int, int]
"""Name, C type, byte offset; for a bit field also its first bit and its size."""

_INTEGERS = {
    "char": (1, True), "signed char": (1, True), "unsigned char": (1, False),
    "short": (2, True), "unsigned short": (2, False), "int": (4, True),
    "unsigned int": (4, False), "long": (8, True), "unsigned long": (8, False),
}  # fmt: skip
_TYPEDEFS = {
    "u8": "unsigned char", "u16": "unsigned short", "u32": "unsigned int",
    "u64": "unsigned long", "__be16": "unsigned short", "__be32": "unsigned int",
    "sk_buff_data_t": "unsigned int",
}  # fmt: skip


class Kernel:
    """A program whose types and memory a test writes.

    :ivar prog: the ``drgn.Program``; only pages that were written exist
    """

    def __init__(self) -> None:
        self.prog = Program(Platform(Architecture.X86_64))
        self._pages: dict[int, bytearray] = {}
        self._types: dict[tuple[TypeKind, str], Type] = {}
        self._variables: dict[str, Object] = {}
        self._symbols: list[Symbol] = []
        self._next = DIRECT_MAP + 0x10_0000
        for name, (size, signed) in _INTEGERS.items():
            self._types[TypeKind.INT, name] = self.prog.int_type(name, size, signed)
        self.prog.register_type_finder("double", self._find_type, enable_index=0)
        self.prog.register_object_finder("double", self._find_object, enable_index=0)
        self.prog.register_symbol_finder("double", self._find_symbols, enable_index=0)
        self.prog.add_memory_segment(KERNEL_HALF, -KERNEL_HALF % (1 << 64), self._read)
        for name, base in _TYPEDEFS.items():
            self.typedef(name, base)

    def _find_type(
        self, _prog: Program, kinds: Any, name: str, _filename: str | None
    ) -> Type | None:
        return next(
            (t for (kind, n), t in self._types.items() if n == name and kind in kinds), None
        )

    def _find_object(
        self, _prog: Program, name: str, _flags: Any, _filename: str | None
    ) -> Object | None:
        return self._variables.get(name)

    def _find_symbols(
        self, _prog: Program, name: str | None, address: int | None, _one: bool
    ) -> list[Symbol]:
        return [
            s
            for s in self._symbols
            if (name is None or s.name == name)
            and (address is None or s.address <= address < s.address + s.size)
        ]

    def _read(self, address: int, count: int, _offset: int, _physical: bool) -> bytes:
        out = bytearray()
        while len(out) < count:
            start = address + len(out)
            page = self._pages.get(start // PAGE)
            if page is None:
                raise FaultError("page not saved", start)
            at = start % PAGE
            out += page[at : at + count - len(out)]
        return bytes(out)

    def typedef(self, name: str, ctype: str) -> None:
        """Define a typedef of a type given by its C name."""
        self._types[TypeKind.TYPEDEF, name] = self.prog.typedef_type(name, self.prog.type(ctype))

    def struct(self, name: str, size: int, *members: Member) -> None:
        """Define ``struct name``."""
        made = tuple(self._member(*member) for member in members)
        self._types[TypeKind.STRUCT, name] = self.prog.struct_type(name, size, made)

    def union(self, name: str, size: int, *members: Member) -> None:
        """Define ``union name``."""
        made = tuple(self._member(*member) for member in members)
        self._types[TypeKind.UNION, name] = self.prog.union_type(name, size, made)

    def declare(self, name: str) -> None:
        """Declare ``struct name`` without its members."""
        self._types[TypeKind.STRUCT, name] = self.prog.struct_type(name, None, None)

    def enum(self, name: str, **values: int) -> None:
        """Define ``enum name``."""
        enumerators = [TypeEnumerator(n, v) for n, v in values.items()]
        compatible = self.prog.type("unsigned int")
        self._types[TypeKind.ENUM, name] = self.prog.enum_type(name, compatible, enumerators)

    def forget(self, *names: str) -> None:
        """Remove structs, enums or variables."""
        for key in [key for key in self._types if key[1] in names]:
            del self._types[key]
        for name in names:
            self._variables.pop(name, None)

    def _member(
        self, name: str, ctype: str, offset: int, bit: int = 0, bits: int = 0
    ) -> TypeMember:
        def type_() -> Any:
            made = self.prog.type(ctype)
            return Object(self.prog, made, bit_field_size=bits) if bits else made

        return TypeMember(type_, name, 8 * offset + bit)

    def allocate(self, ctype: str, address: int | None = None, **values: int | bytes) -> Object:
        """Make a zeroed object in memory and give a pointer to it."""
        type_ = self.prog.type(ctype)
        if address is None:
            address = self._next
            self._next += (sizeof(type_) + 0x3F) & ~0x3F
        self.put(address, bytes(sizeof(type_)))
        pointer = Object(self.prog, self.prog.pointer_type(type_), address)
        self.set(pointer, values)
        return pointer

    def set(self, pointer: Object, values: Mapping[str, int | bytes]) -> None:
        """Write members; a name is a path: ``tuplehash[1].tuple.dst.dir``."""
        for path, value in values.items():
            target = pointer
            for part in re.findall(r"\w+|\[\d+\]", path):
                target = target[int(part[1:-1])] if part[0] == "[" else target.member_(part)
            self._store(target, value)

    def _store(self, target: Object, value: int | bytes) -> None:
        assert target.address_ is not None
        if isinstance(value, bytes):
            self.put(target.address_, value)
        elif target.bit_field_size_:
            old = self._read(target.address_, 1, 0, False)[0]
            shift, width = target.bit_offset_ or 0, target.bit_field_size_
            mask = ((1 << width) - 1) << shift
            self.put(target.address_, bytes([old & ~mask | value << shift & mask]))
        else:
            size = sizeof(target)
            self.put(target.address_, (value % (1 << 8 * size)).to_bytes(size, "little"))

    def put(self, address: int, data: bytes) -> None:
        """Write bytes, making pages as needed."""
        for i, byte in enumerate(data):
            page, at = divmod(address + i, PAGE)
            self._pages.setdefault(page, bytearray(PAGE))[at] = byte

    def drop(self, address: int) -> None:
        """Make the page of an address missing."""
        self._pages.pop(address // PAGE, None)

    def variable(self, name: str, ctype: str, value: int | None = None) -> Object:
        """Make a global variable in memory and give a pointer to it."""
        pointer = self.allocate(ctype)
        if value is not None:
            self._store(pointer[0], value)
        self._variables[name] = pointer[0]
        return pointer

    def constant(self, name: str, ctype: str, value: int) -> None:
        """Make a name that has a value and no address."""
        self._variables[name] = Object(self.prog, ctype, value)

    def symbol(self, name: str, address: int, size: int) -> None:
        """Name a range of addresses."""
        self._symbols.append(Symbol(name, address, size, SymbolBinding.GLOBAL, SymbolKind.OBJECT))

    def knows(self, name: str) -> bool:
        """Whether a struct, union or enum of that name was defined."""
        return any(key[1] == name for key in self._types)

    def type(self, ctype: str) -> Type:
        """Look a type up by its C name."""
        return self.prog.type(ctype)


def list_of(kernel: Kernel, head: Object, member: str, *entries: Object) -> None:
    """Link entries into a circular ``list_head``; ``head`` points to the head."""
    nodes = [head.value_(), *(e.member_(member).address_of_().value_() for e in entries)]
    for here, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        kernel.put(here, following.to_bytes(8, "little"))
        kernel.put(following + 8, here.to_bytes(8, "little"))


def chain(kernel: Kernel, table: int, bucket: int, *nodes: int) -> None:
    """Hang hlist_nulls nodes into a bucket of the table at an address."""
    before = table + 8 * bucket
    for node in nodes:
        kernel.put(before, node.to_bytes(8, "little"))
        kernel.put(node + 8, before.to_bytes(8, "little"))
        before = node
    kernel.put(before, (bucket * 2 + 1).to_bytes(8, "little"))


def empty_table(kernel: Kernel, address: int, size: int) -> None:
    """Write the buckets of an empty conntrack table."""
    for bucket in range(size):
        kernel.put(address + 8 * bucket, (bucket * 2 + 1).to_bytes(8, "little"))


def add_namespace(kernel: Kernel, *devices: Object) -> Object:
    """Make ``init_net`` the only registered namespace, with these devices."""
    net = kernel.variable("init_net", "struct net")
    head = kernel.variable("net_namespace_list", "struct list_head")
    list_of(kernel, head, "list", net)
    list_of(kernel, net.dev_base_head.address_of_(), "dev_list", *devices)
    return net
