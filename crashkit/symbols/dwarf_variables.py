"""Variables as DWARF entries: a name, an address, and a type that BTF has the parts of."""

from __future__ import annotations

from drgn import Qualifiers, Type, TypeKind

from crashkit.symbols import dwarf_shapes as shapes
from crashkit.symbols.btf import Blob, Kind
from crashkit.symbols.btf_dwarf import POINTER_BYTES
from crashkit.symbols.dwarf_shapes import END
from crashkit.symbols.dwarf_writer import VOID, DwarfWriter

_KINDS = {
    TypeKind.STRUCT: Kind.STRUCT,
    TypeKind.UNION: Kind.UNION,
    TypeKind.TYPEDEF: Kind.TYPEDEF,
    TypeKind.INT: Kind.INT,
    TypeKind.BOOL: Kind.INT,
}
_QUALIFIERS = {
    Qualifiers.CONST: shapes.CONST,
    Qualifiers.VOLATILE: shapes.VOLATILE,
}
# drgn's spelling of an integer to the compiler's, which BTF has.
_SPELLINGS = {
    "unsigned long": "long unsigned int",
    "long": "long int",
    "unsigned long long": "long long unsigned int",
    "long long": "long long int",
    "unsigned short": "short unsigned int",
    "short": "short int",
}


class Variables:
    """Writes variables, and the pointers and arrays of their types that BTF lacks."""

    def __init__(self, blob: Blob, writer: DwarfWriter) -> None:
        self._blob = blob
        self._writer = writer
        self._made: dict[str, int] = {}

    def write(self, name: int, address: int, type_id: int) -> None:
        """Write one of a BTF type.

        :param name: offset of its name in the strings
        """
        place = (shapes.ADDRESS_EXPRESSION_BYTES, shapes.ADDRESS_OPERATION, address)
        self._writer.refer(shapes.VARIABLE(name, *place, type_id))

    def write_constant(self, name: str, value: int, type_id: int) -> None:
        """Write one that has a value and no address."""
        self._writer.refer(shapes.CONSTANT(self._writer.string(name), value, type_id))

    def write_typed(self, name: str, address: int, made: Type) -> bool:
        """Write one of a drgn type.

        :returns: whether BTF has what the type is made of
        """
        type_id = self._type(made)
        if type_id is None or type_id == VOID:
            return False
        self.write(self._writer.string(name), address, type_id)
        return True

    def _type(self, made: Type) -> int | None:
        # The number of a type, with an entry of its own if BTF has none.
        key = str(made)
        if key not in self._made:
            found = self._qualified(made) if made.qualifiers else self._plain(made)
            if found is None:
                return None
            self._made[key] = found
        return self._made[key]

    def _qualified(self, made: Type) -> int | None:
        inner = self._type(made.unqualified())
        for qualifier, shape in _QUALIFIERS.items():
            if qualifier in made.qualifiers and inner:
                number = self._next()
                self._writer.refer(shape(inner))
                inner = number
        return inner

    def _plain(self, made: Type) -> int | None:
        if made.kind is TypeKind.VOID:
            return VOID
        if made.kind in (TypeKind.POINTER, TypeKind.ARRAY):
            inner = self._type(made.type)
            return None if inner is None else self._derived(made, inner)
        wanted = _KINDS.get(made.kind)
        if made.kind is TypeKind.ENUM:
            return self._named(made.tag, (Kind.ENUM, Kind.ENUM64))
        if wanted is None:
            return None
        name = made.tag if wanted in (Kind.STRUCT, Kind.UNION) else made.name
        return self._named(name, (wanted,))

    def _derived(self, made: Type, inner: int) -> int | None:
        number = self._next()
        if made.kind is TypeKind.POINTER:
            if inner == VOID:
                self._writer.out += shapes.POINTER_VOID(POINTER_BYTES)
            else:
                self._writer.refer(shapes.POINTER(POINTER_BYTES, inner))
            return number
        self._writer.refer(shapes.ARRAY(inner))
        length = made.length
        self._writer.out += (shapes.SUBRANGE(length) if length else shapes.SUBRANGE_OPEN()) + END
        return number

    def _next(self) -> int:
        number = self._writer.new_type()
        self._writer.place(number)
        return number

    def _named(self, name: str | None, kinds: tuple[Kind, ...]) -> int | None:
        if name is None:
            return None
        for type_id in self._blob.ids_named(_SPELLINGS.get(name, name)):
            if self._blob.record(type_id).kind in kinds:
                return type_id
        return None
