"""drgn types made from BTF records, each on first use.

A drgn type finder, so that ``prog.type``, every helper and every recipe work without
DWARF. What BTF cannot tell: ``T x[0]`` from ``T x[]`` (the last member is taken as a
flexible array), and which of two static types of one name is meant.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from drgn import (
    Object,
    Program,
    Qualifiers,
    Type,
    TypeEnumerator,
    TypeKind,
    TypeKindSet,
    TypeMember,
    TypeParameter,
    filename_matches,
)

from crashkit.errors import Reason, Unavailable
from crashkit.symbols.btf import Blob, Kind, Record

_MAX_DEPTH = 64  # const volatile T ** …: real kernels stay below 12

_QUALIFIERS = {
    Kind.CONST: Qualifiers.CONST,
    Kind.VOLATILE: Qualifiers.VOLATILE,
    Kind.RESTRICT: Qualifiers.RESTRICT,
}

# drgn's kinds to the BTF kinds that define such a type.
_DEFINES: dict[TypeKind, tuple[Kind, ...]] = {
    TypeKind.INT: (Kind.INT,),
    TypeKind.BOOL: (Kind.INT,),
    TypeKind.FLOAT: (Kind.FLOAT,),
    TypeKind.STRUCT: (Kind.STRUCT,),
    TypeKind.UNION: (Kind.UNION,),
    TypeKind.ENUM: (Kind.ENUM, Kind.ENUM64),
    TypeKind.TYPEDEF: (Kind.TYPEDEF,),
}

# BTF spells integers as the compiler does; drgn also asks for the short spellings.
_INT_SPELLINGS = {
    "short": "short int", "unsigned short": "short unsigned int",
    "long": "long int", "unsigned long": "long unsigned int",
    "long long": "long long int", "unsigned long long": "long long unsigned int",
}  # fmt: skip


class BtfTypes:
    """Types of all blobs of one dump: vmlinux first, then the modules."""

    def __init__(self, prog: Program, vmlinux: Blob) -> None:
        self.prog = prog
        self.vmlinux = vmlinux
        self._modules: list[Blob] | None = None
        self._load_modules: Callable[[], Sequence[Blob]] = tuple
        self._made: dict[tuple[str, int], Type] = {}
        self._found: dict[tuple[object, ...], Type | None] = {}
        self.loads = 0
        """How often there came more blobs, so that what was not found may be."""
        self._signed_enums: dict[str, bool] = {}

    def use_modules(self, load: Callable[[], Sequence[Blob]]) -> None:
        """Set how module blobs are read; it is called when vmlinux lacks a name."""
        self._load_modules = load
        self._modules = None

    def blobs(self) -> Iterable[Blob]:
        """Yield vmlinux's blob, then the modules' (read when first asked for)."""
        yield self.vmlinux
        yield from self.module_blobs()

    def module_blobs(self) -> Sequence[Blob]:
        """Return the modules' blobs."""
        if self._modules is None:
            self._modules = []  # reading them looks up types of vmlinux
            self._modules = list(self._load_modules())
            self._made.clear()  # what was a forward declaration may be defined now
            self._found.clear()
            self.loads += 1
        return self._modules

    def find_record(self, name: str, kinds: tuple[Kind, ...]) -> tuple[Blob, Record] | None:
        """Find the first record of this name and one of these kinds."""
        for blob in self.blobs():
            for type_id in blob.ids_named(name):
                record = blob.record(type_id)
                if record.kind in kinds:
                    return blob, record
        return None

    def find_type(
        self, _prog: Program, kinds: TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        """Find a type by name: the callback for ``Program.register_type_finder``."""
        key = (kinds, name, filename)
        if key not in self._found:
            self._found[key] = self._find_type(kinds, name, filename)
        return self._found[key]

    def _find_type(self, kinds: TypeKindSet, name: str, filename: str | None) -> Type | None:
        wanted = {
            kind for drgn_kind, some in _DEFINES.items() if drgn_kind in kinds for kind in some
        }
        if not wanted:
            return None
        for blob in self.blobs():
            if filename is not None and not filename_matches(blob.name, filename):
                continue
            for type_id in blob.ids_named(_INT_SPELLINGS.get(name, name)):
                if blob.record(type_id).kind not in wanted:
                    continue
                made = self.make(blob, type_id)
                if made.kind in kinds:
                    return made
        return None

    def make(self, blob: Blob, type_id: int, depth: int = 0) -> Type:
        """Return the drgn type of a record.

        :raises Unavailable: the record is corrupt
        """
        if type_id == 0:
            return self.prog.void_type()
        owner = blob
        while type_id < owner.start_id and owner.base is not None:
            owner = owner.base
        key = (owner.name, type_id)
        made = self._made.get(key)
        if made is None:
            try:
                made = self._build(owner, owner.record(type_id), depth + 1)
            except (ValueError, TypeError, OverflowError) as refused:  # drgn: no such type can be
                detail = f"type {type_id}: {refused}"
                raise Unavailable(f"BTF of {blob.name}", Reason.CORRUPTED, detail) from refused
            self._made[key] = made
        return made

    def _build(self, blob: Blob, record: Record, depth: int) -> Type:
        if depth > _MAX_DEPTH:
            raise Unavailable(f"BTF of {blob.name}", Reason.CORRUPTED, "types nest without end")
        kind = record.kind
        if kind is Kind.PTR:
            return self.prog.pointer_type(self.make(blob, record.size_or_type, depth))
        if kind in _QUALIFIERS:
            inner = self.make(blob, record.size_or_type, depth)
            return inner.qualified(inner.qualifiers | _QUALIFIERS[kind])
        if kind is Kind.TYPE_TAG:
            return self.make(blob, record.size_or_type, depth)
        if kind in (Kind.STRUCT, Kind.UNION):
            return self._compound(blob, record)
        if kind is Kind.ARRAY:
            element, _index, length = record.words
            return self.prog.array_type(self.make(blob, element, depth), length)
        if kind is Kind.TYPEDEF:
            aliased = self.make(blob, record.size_or_type, depth)
            return self.prog.typedef_type(blob.string(record.name_offset), aliased)
        if kind is Kind.FUNC:
            return self.make(blob, record.size_or_type, depth)
        return self._build_leaf(blob, record, depth)

    def _build_leaf(self, blob: Blob, record: Record, depth: int) -> Type:
        kind = record.kind
        if kind is Kind.INT:
            return self._integer(blob, record)
        if kind in (Kind.ENUM, Kind.ENUM64):
            return self._enumeration(blob, record)
        if kind is Kind.FUNC_PROTO:
            return self._prototype(blob, record, depth)
        if kind is Kind.FWD:
            return self._forward(blob, record)
        if kind is Kind.FLOAT:
            return self.prog.float_type(blob.string(record.name_offset), record.size_or_type)
        raise Unavailable(f"BTF of {blob.name}", Reason.CORRUPTED, f"{kind.name} is no type")

    def _integer(self, blob: Blob, record: Record) -> Type:
        encoding = record.words[0] >> 24
        name = blob.string(record.name_offset)
        if encoding & 4:  # BTF_INT_BOOL
            return self.prog.bool_type(name, record.size_or_type)
        return self.prog.int_type(name, record.size_or_type, bool(encoding & 1))

    def _compound(self, blob: Blob, record: Record) -> Type:
        members = []
        count = record.vlen
        for n in range(count):
            name_offset, type_id, offset = record.words[3 * n : 3 * n + 3]
            bits = 0
            if record.flag:
                offset, bits = offset & 0xFFFFFF, offset >> 24
            last = record.kind is Kind.STRUCT and n == count - 1
            make = partial(self._member, blob, type_id, bits, last)
            members.append(TypeMember(make, blob.string(name_offset) or None, offset))
        tag = blob.string(record.name_offset) or None
        if record.kind is Kind.STRUCT:
            return self.prog.struct_type(tag, record.size_or_type, members)
        return self.prog.union_type(tag, record.size_or_type, members)

    def _member(self, blob: Blob, type_id: int, bits: int, last: bool) -> Object | Type:
        made = self.make(blob, type_id)
        if bits:
            return Object(self.prog, made, bit_field_size=bits)
        if last and made.kind is TypeKind.ARRAY and made.length == 0:
            return self.prog.array_type(made.type)
        return made

    def _enumeration(self, blob: Blob, record: Record) -> Type:
        wide = record.kind is Kind.ENUM64
        signed = record.flag or not self._flags_enums(blob)
        values = _wide_values(record) if wide else _narrow_values(record)
        size = record.size_or_type if record.size_or_type in (1, 2, 4, 8) else 4
        if not wide and not record.flag and all(value < 1 << 31 for _, value in values):
            signed = False
        bits = 64 if wide else 32
        enumerators = [
            TypeEnumerator(blob.string(name), _as_signed(value, bits) if signed else value)
            for name, value in values
        ]
        label = {1: "char", 2: "short", 4: "int", 8: "long"}[size]
        base = self.prog.int_type(label if signed else f"unsigned {label}", size, signed)
        return self.prog.enum_type(blob.string(record.name_offset) or None, base, enumerators)

    def _flags_enums(self, blob: Blob) -> bool:
        # pahole before 1.24 never sets kind_flag on an enum, so there the flag says nothing.
        if blob.name not in self._signed_enums:
            told = bool(blob.ids_of_kind(Kind.ENUM64)) or any(
                blob.record(type_id).flag for type_id in blob.ids_of_kind(Kind.ENUM)
            )
            self._signed_enums[blob.name] = told
        return self._signed_enums[blob.name]

    def _prototype(self, blob: Blob, record: Record, depth: int) -> Type:
        pairs = [tuple(record.words[2 * n : 2 * n + 2]) for n in range(record.vlen)]
        variadic = bool(pairs) and pairs[-1] == (0, 0)
        parameters = [
            TypeParameter(partial(self.make, blob, type_id), blob.string(name) or None)
            for name, type_id in (pairs[:-1] if variadic else pairs)
        ]
        result = self.make(blob, record.size_or_type, depth)
        return self.prog.function_type(result, parameters, variadic)

    def _forward(self, blob: Blob, record: Record) -> Type:
        name = blob.string(record.name_offset)
        kind = Kind.UNION if record.flag else Kind.STRUCT
        definition = self.find_record(name, (kind,))
        if definition is not None:
            return self.make(definition[0], definition[1].id)
        return self.prog.union_type(name) if record.flag else self.prog.struct_type(name)


def _narrow_values(record: Record) -> list[tuple[int, int]]:
    words = record.words
    return [(words[2 * n], words[2 * n + 1]) for n in range(record.vlen)]


def _wide_values(record: Record) -> list[tuple[int, int]]:
    words: array[int] = record.words
    return [(words[3 * n], words[3 * n + 1] | words[3 * n + 2] << 32) for n in range(record.vlen)]


def _as_signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
