"""The kernel's BTF written as DWARF: the same types, for programs that read DWARF only.

A type's number in the unit is its BTF id, its name the same offset into the strings. BTF
cannot tell ``x[0]`` from ``x[]``: a structure's last member is taken for the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crashkit.errors import Reason, Unavailable
from crashkit.symbols import dwarf_shapes as shapes
from crashkit.symbols.btf import Blob, Kind, Record
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.dwarf_shapes import END, Shape, padded_sleb
from crashkit.symbols.dwarf_writer import VOID, DwarfWriter

POINTER_BYTES = 8
_MAX_DEPTH = 64
# DW_ATE_*
_BOOLEAN, _FLOAT, _SIGNED, _SIGNED_CHAR, _UNSIGNED, _UNSIGNED_CHAR = 2, 4, 5, 6, 7, 8
_CHARS = {"char", "signed char", "unsigned char"}
_THROUGH = {
    Kind.TYPEDEF: (shapes.TYPEDEF, shapes.TYPEDEF_VOID),
    Kind.CONST: (shapes.CONST, shapes.CONST_VOID),
    Kind.VOLATILE: (shapes.VOLATILE, shapes.VOLATILE_VOID),
    Kind.RESTRICT: (shapes.RESTRICT, shapes.RESTRICT_VOID),
    Kind.PTR: (shapes.POINTER, shapes.POINTER_VOID),
}
_COMPOUND = {
    Kind.STRUCT: (shapes.STRUCT, shapes.STRUCT_UNNAMED, shapes.STRUCT_DECLARED),
    Kind.UNION: (shapes.UNION, shapes.UNION_UNNAMED, shapes.UNION_DECLARED),
}


class BtfDwarf:
    """Writes the records of one blob, and functions and variables by their BTF types."""

    def __init__(self, types: BtfTypes, writer: DwarfWriter) -> None:
        self._types = types
        self._blob: Blob = types.vmlinux
        self._writer = writer
        self._tags: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self.count = 0
        """Types written."""

    def write_types(self) -> None:
        """Write every type.

        :raises Unavailable: the BTF is corrupt, or of a form that no kernel since 5.2 has
        """
        record_of, handlers = self._blob.record, self._handlers()
        self._tags = self._type_tags()
        self._open = self._open_arrays()
        for type_id in range(self._blob.start_id, self._blob.end_id):
            record = record_of(type_id)
            handler = handlers.get(record.kind)
            if handler is not None:
                self._writer.place(type_id)
                handler(record)
                self.count += 1

    def write_functions(self, places: Mapping[str, tuple[int, int]]) -> int:
        """Write the prototypes of functions.

        :param places: address and size by name; a function that is not there is left out
        :returns: how many were written
        """
        written = 0
        for type_id in self._blob.ids_of_kind(Kind.FUNC):
            record = self._blob.record(type_id)
            place = places.get(self._blob.string(record.name_offset))
            prototype = self._blob.record(record.size_or_type)
            if place is None or prototype.kind is not Kind.FUNC_PROTO:
                continue
            head = (record.name_offset, *place)
            self._prototype(prototype, head, shapes.FUNCTION, shapes.FUNCTION_VOID)
            written += 1
        return written

    def _handlers(self) -> dict[Kind, Callable[[Record], None]]:
        return {
            **dict.fromkeys(_THROUGH, self._through),
            **dict.fromkeys(_COMPOUND, self._compound),
            Kind.INT: self._integer,
            Kind.FLOAT: self._float,
            Kind.ARRAY: self._array,
            Kind.ENUM: self._enumeration,
            Kind.ENUM64: self._enumeration,
            Kind.FWD: self._forward,
            Kind.FUNC_PROTO: self._subroutine,
        }

    def _type_tags(self) -> dict[int, int]:
        # A TYPE_TAG is an attribute of what it names; none has an entry of its own.
        tags: dict[int, int] = {}
        for type_id in self._blob.ids_of_kind(Kind.TYPE_TAG):
            target = self._behind_tags(type_id)
            tags[type_id] = target
            if target != VOID:
                self._writer.alias(type_id, target)
        for type_id in self._blob.ids_of_kind(
            Kind.TYPEDEF, Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.ARRAY
        ):
            self._check_end(type_id)
        return tags

    def _open_arrays(self) -> dict[int, int]:
        # Arrays of no elements by their numbers as arrays without a length.
        found = {}
        for type_id in self._blob.ids_of_kind(Kind.ARRAY):
            if not self._blob.record(type_id).words[2]:
                found[type_id] = self._writer.new_type()
        return found

    def _behind_tags(self, type_id: int) -> int:
        for _ in range(_MAX_DEPTH):
            if type_id == VOID:
                return VOID
            record = self._blob.record(type_id)
            if record.kind is not Kind.TYPE_TAG:
                return type_id
            type_id = record.size_or_type
        raise self._corrupted("types nest without end")

    def _check_end(self, type_id: int) -> None:
        # A reader of the file would follow a typedef of itself for ever.
        for _ in range(_MAX_DEPTH):
            if type_id == VOID:
                return
            record = self._blob.record(type_id)
            if record.kind is Kind.ARRAY:
                type_id = record.words[0]
            elif record.kind is Kind.TYPE_TAG or (
                record.kind in _THROUGH and record.kind is not Kind.PTR
            ):
                type_id = record.size_or_type
            else:
                return
        raise self._corrupted("types nest without end")

    def _through(self, record: Record) -> None:
        # What has one type behind it: pointers, qualifiers, typedefs.
        shape, of_void = _THROUGH[record.kind]
        words: tuple[int, ...] = ()
        if record.kind is Kind.PTR:
            words = (POINTER_BYTES,)
        elif record.kind is Kind.TYPEDEF:
            words = (record.name_offset,)
        target = self._tags.get(record.size_or_type, record.size_or_type)
        if target == VOID:
            self._writer.out += of_void(*words)
        else:
            self._writer.refer(shape(*words, target))

    def _integer(self, record: Record) -> None:
        flags = record.words[0] >> 24
        signed = bool(flags & 1)  # BTF_INT_SIGNED
        if flags & 4:  # BTF_INT_BOOL
            encoding = _BOOLEAN
        elif record.size_or_type == 1 and self._blob.string(record.name_offset) in _CHARS:
            encoding = _SIGNED_CHAR if signed else _UNSIGNED_CHAR
        else:
            encoding = _SIGNED if signed else _UNSIGNED
        self._base(record, encoding)

    def _float(self, record: Record) -> None:
        self._base(record, _FLOAT)

    def _base(self, record: Record, encoding: int) -> None:
        if record.size_or_type > 255:
            raise self._corrupted(f"type {record.id} has {record.size_or_type} bytes")
        self._writer.out += shapes.BASE(record.name_offset, record.size_or_type, encoding)

    def _array(self, record: Record) -> None:
        element, _index, length = record.words
        self._writer.refer(shapes.ARRAY(element))
        self._writer.out += shapes.SUBRANGE(length) + END
        if not length:
            self._writer.place(self._open[record.id])
            self._writer.refer(shapes.ARRAY(element))
            self._writer.out += shapes.SUBRANGE_OPEN() + END

    def _compound(self, record: Record) -> None:
        named, unnamed, _declared = _COMPOUND[record.kind]
        name, size = record.name_offset, record.size_or_type
        writer = self._writer
        writer.out += named(name, size) if name else unnamed(size)
        words = record.words
        out, refer, member = writer.out, writer.references.append, shapes.MEMBER
        for name, type_id, offset in zip(words[::3], words[1::3], words[2::3], strict=True):
            if record.flag and offset >> 24:
                bits = (offset & 0xFFFFFF, offset >> 24, type_id)
                out += shapes.BITS(name, *bits) if name else shapes.BITS_UNNAMED(*bits)
            elif offset & 7:
                detail = "bit fields as pahole before 1.13 wrote them"
                raise Unavailable("BTF of vmlinux", Reason.UNSUPPORTED, detail)
            elif name:
                out += member(name, offset >> 3, type_id)
            else:
                out += shapes.MEMBER_UNNAMED(offset >> 3, type_id)
            refer(len(out) - 4)
        if record.kind is Kind.STRUCT and words and words[-2] in self._open:
            out[-4:] = self._open[words[-2]].to_bytes(4, "little")
        out += END

    def _enumeration(self, record: Record) -> None:
        # Which of them are signed is a question that the reader of BTF answers.
        made = self._types.make(self._blob, record.id)
        size = record.size_or_type if record.size_or_type in (1, 2, 4, 8) else 4
        name = record.name_offset
        out = self._writer.out
        out += shapes.ENUM(name, size) if name else shapes.ENUM_UNNAMED(size)
        step = 3 if record.kind is Kind.ENUM64 else 2
        for name, each in zip(record.words[::step], made.enumerators or (), strict=True):
            if each.value < 0:
                out += shapes.ENUMERATOR_SIGNED(name, padded_sleb(each.value))
            else:
                out += shapes.ENUMERATOR(name, each.value)
        out += END

    def _forward(self, record: Record) -> None:
        kind = Kind.UNION if record.flag else Kind.STRUCT
        for type_id in self._blob.ids_named(self._blob.string(record.name_offset)):
            if self._blob.record(type_id).kind is kind:
                self._writer.alias(record.id, type_id)
                return
        self._writer.out += _COMPOUND[kind][2](record.name_offset)

    def _subroutine(self, record: Record) -> None:
        self._prototype(record, (), shapes.PROTOTYPE, shapes.PROTOTYPE_VOID)

    def _prototype(
        self, record: Record, head: tuple[int, ...], shape: Shape, returns_void: Shape
    ) -> None:
        writer = self._writer
        result = self._tags.get(record.size_or_type, record.size_or_type)
        if result == VOID:
            writer.out += returns_void(*head)
        else:
            writer.refer(shape(*head, result))
        out, refer = writer.out, writer.references.append
        for name, type_id in zip(record.words[::2], record.words[1::2], strict=True):
            if type_id == VOID:  # the last: "..."
                out += shapes.VARIADIC()
                continue
            unnamed = shapes.PARAMETER_UNNAMED
            out += shapes.PARAMETER(name, type_id) if name else unnamed(type_id)
            refer(len(out) - 4)
        out += END

    def _corrupted(self, detail: str) -> Unavailable:
        return Unavailable(f"BTF of {self._blob.name}", Reason.CORRUPTED, detail)
