"""Objects by name without DWARF: functions, per-CPU variables, enumerators, globals."""

from __future__ import annotations

from collections.abc import Callable

from drgn import (
    FindObjectFlags,
    Object,
    Program,
    Symbol,
    Type,
    TypeMember,
    alignof,
    filename_matches,
    sizeof,
)

from crashkit.symbols.btf import Blob, Kind
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.globals_table import GLOBALS, PER_CPU

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
        self.missing: set[str] = set()
        """Names that have a symbol but no known type."""

    def find_object(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        """Find an object: the callback for ``Program.register_object_finder``."""
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
        for type_name in declared:
            try:
                type_ = _declared(prog, type_name, symbol.size)
            except LookupError:
                continue
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
        return None

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


def _declared(prog: Program, type_name: str, size: int) -> Type:
    # A row of the table as a type; [*] is as many elements as the symbol has room for.
    if not type_name.endswith(" [*]"):
        return prog.type(type_name)
    element = prog.type(type_name.removesuffix(" [*]"))
    return prog.array_type(element, size // sizeof(element))


def _tk_core(prog: Program, address: int) -> Object | None:
    # Kernels without struct tk_data (6.12 and before) declare tk_core with an anonymous
    # structure: a sequence counter, then the timekeeper where its alignment puts it.
    try:
        counter, keeper = prog.type("seqcount_raw_spinlock_t"), prog.type("struct timekeeper")
    except LookupError:
        return None
    start = -(-sizeof(counter) // alignof(keeper)) * alignof(keeper)
    members = (TypeMember(counter, "seq"), TypeMember(keeper, "timekeeper", 8 * start))
    made = prog.struct_type(None, start + sizeof(keeper), members)
    return Object(prog, made, address=address)


def _section_offset(blob: Blob, type_id: int) -> int | None:
    # Offset of a VAR within its DATASEC (.data..percpu).
    for section_id in blob.ids_of_kind(Kind.DATASEC):
        words = blob.record(section_id).words
        for n in range(0, len(words), 3):
            if words[n] == type_id:
                return words[n + 1]
    return None
