"""Objects by name without DWARF: functions, per-CPU variables, enumerators, globals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drgn import (
    FindObjectFlags,
    Object,
    Program,
    Symbol,
    Type,
    TypeMember,
    TypeParameter,
    alignof,
    filename_matches,
    sizeof,
)

from crashkit.symbols.btf import Blob, Kind
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.globals_table import GLOBALS, PER_CPU
from crashkit.symbols.prototypes_table import PROTOTYPES

FindSymbol = Callable[[str], Symbol | None]


class BtfObjects:
    """A drgn object finder over BTF, kallsyms and the table of globals."""

    def __init__(
        self,
        types: BtfTypes,
        find_symbol: FindSymbol,
        module_percpu: Callable[[str], int | None],
    ) -> None:
        self.types = types
        self._find_symbol = find_symbol
        self._module_percpu = module_percpu
        self._constants: dict[str, dict[int, tuple[int, int]]] = {}
        self._found: dict[tuple[object, ...], Object | None] = {}
        self.missing: set[str] = set()
        """Names that have a symbol but no known type."""

    def find_object(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        """Find an object: the callback for ``Program.register_object_finder``."""
        key = (self.types.loads, name, flags, filename)
        if key in self._found:
            return self._found[key]
        found = self._find(prog, name, flags, filename)
        if self.types.loads == key[0] and (found is not None or self.types.loads):
            self._found[key] = found  # before the modules are known, not all can be
        return found

    def _find(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        if FindObjectFlags.VARIABLE in flags:
            found = self._variable(prog, name, filename)
            if found is not None:
                return found
        if FindObjectFlags.FUNCTION in flags:
            found = self._function(prog, name, filename)
            if found is not None:
                return found
        if FindObjectFlags.CONSTANT in flags and filename is None:
            return self._constant(prog, name)
        return None

    def _variable(self, prog: Program, name: str, filename: str | None) -> Object | None:
        declared = GLOBALS.get(name)
        if declared is not None and filename is None:
            return self._global(prog, name, declared)
        for blob in self.types.blobs():
            if filename is not None and not filename_matches(blob.name, filename):
                continue
            for type_id in blob.ids_named(name):
                record = blob.record(type_id)
                if record.kind is Kind.VAR:
                    made = self.types.make(blob, record.size_or_type)
                    return self._per_cpu(prog, blob, name, type_id, made)
        declared = PER_CPU.get(name)
        return self._global(prog, name, declared) if declared and filename is None else None

    def _global(self, prog: Program, name: str, declared: tuple[str, ...]) -> Object | None:
        symbol = self._find_symbol(name)
        if symbol is None:
            return None
        types = [*_known_types(prog, declared, symbol.size)]
        fitting = [type_ for type_ in types if _has_room(type_, symbol.size)]
        for type_ in (*fitting, *types):
            return Object(prog, type_, address=symbol.address)
        if name == "tk_core":
            return _tk_core(prog, symbol.address)
        self.missing.add(name)
        return None

    def _per_cpu(
        self, prog: Program, blob: Blob, name: str, type_id: int, made: Type
    ) -> Object | None:
        if blob is self.types.vmlinux:
            symbol = self._find_symbol(name)
            return Object(prog, made, address=symbol.address) if symbol else None
        # A module's symbol is relative to its ELF section; struct module.percpu is the base.
        base = self._module_percpu(blob.name)
        offset = _section_offset(blob, type_id)
        if base is None or offset is None:
            return None
        return Object(prog, made, address=base + offset)

    def _function(self, prog: Program, name: str, filename: str | None) -> Object | None:
        for blob in self.types.blobs():
            if filename is not None and not filename_matches(blob.name, filename):
                continue
            for type_id in blob.ids_named(name):
                record = blob.record(type_id)
                if record.kind is not Kind.FUNC:
                    continue
                symbol = self._find_symbol(name)
                if symbol is None:
                    return None
                return Object(prog, self.types.make(blob, type_id), address=symbol.address)
        return self._declared_function(prog, name) if filename is None else None

    def _declared_function(self, prog: Program, name: str) -> Object | None:
        declared = PROTOTYPES.get(name)
        symbol = self._find_symbol(name) if declared is not None else None
        if declared is None or symbol is None:
            return None
        returned, parameters = declared
        try:
            made = prog.function_type(
                _named(prog, returned),
                [TypeParameter(prog.type(type_), shown) for type_, shown in parameters],
            )
        except LookupError:
            return None  # a type it takes is not known
        return Object(prog, made, address=symbol.address)

    def _constant(self, prog: Program, name: str) -> Object | None:
        for blob in self.types.blobs():
            for offset in blob.string_offsets(name):
                found = self._enumerators(blob).get(offset)
                if found is None:
                    continue
                made = self.types.make(blob, found[0])
                enumerators = made.enumerators or ()
                return Object(prog, made, enumerators[found[1]].value)
        return None

    def _enumerators(self, blob: Blob) -> dict[int, tuple[int, int]]:
        # Name offset to (enum, position) in one blob; the first definition wins.
        known = self._constants.get(blob.name)
        if known is not None:
            return known
        found: dict[int, tuple[int, int]] = {}
        for type_id in blob.ids_of_kind(Kind.ENUM, Kind.ENUM64):
            record = blob.record(type_id)
            step = 3 if record.kind is Kind.ENUM64 else 2
            for n, offset in enumerate(record.words[::step]):
                found.setdefault(offset, (type_id, n))
        self._constants[blob.name] = found
        return found


def _known_types(prog: Program, declared: tuple[str, ...], size: int) -> Iterator[Type]:
    for type_name in declared:
        try:
            yield _declared(prog, type_name, size)
        except LookupError:
            continue


def _has_room(type_: Type, size: int) -> bool:
    # A symbol of a module has its object's size, one of the kernel at least that.
    return not size or not type_.is_complete() or sizeof(type_) <= size


def _declared(prog: Program, type_name: str, size: int) -> Type:
    # A row of the table as a type; [*] is as many elements as the symbol has room for.
    if not type_name.endswith(" [*]"):
        return prog.type(type_name)
    element = prog.type(type_name.removesuffix(" [*]"))
    return prog.array_type(element, size // sizeof(element))


def _named(prog: Program, name: str) -> Type:
    return prog.void_type() if name == "void" else prog.type(name)


def _tk_core(prog: Program, address: int) -> Object | None:
    # Kernels without struct tk_data (6.12 and before) declare tk_core with an anonymous
    # structure: a sequence counter, then the timekeeper where its alignment puts it. The
    # counter is a plain one up to 5.8 (025e82bcbc34, "timekeeping: Use sequence counter with
    # associated raw spinlock").
    try:
        keeper = prog.type("struct timekeeper")
        counter = _first_type(prog, "seqcount_raw_spinlock_t", "seqcount_t")
    except LookupError:
        return None
    start = -(-sizeof(counter) // alignof(keeper)) * alignof(keeper)
    members = (TypeMember(counter, "seq"), TypeMember(keeper, "timekeeper", 8 * start))
    made = prog.struct_type(None, start + sizeof(keeper), members)
    return Object(prog, made, address=address)


def _first_type(prog: Program, name: str, older: str) -> Type:
    try:
        return prog.type(name)
    except LookupError:
        return prog.type(older)


def _section_offset(blob: Blob, type_id: int) -> int | None:
    # Offset of a VAR within its DATASEC (.data..percpu).
    for section_id in blob.ids_of_kind(Kind.DATASEC):
        words = blob.record(section_id).words
        for n in range(0, len(words), 3):
            if words[n] == type_id:
                return words[n + 1]
    return None
