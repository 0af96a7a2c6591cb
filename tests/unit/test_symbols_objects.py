"""Objects that BTF does not describe: declared functions, and an anonymous structure."""

from __future__ import annotations

import drgn
import pytest
from drgn import Program, Symbol, SymbolBinding, SymbolKind

from crashkit.symbols.btf import Kind
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.objects import BtfObjects
from tests.unit.btf_doubles import BtfWriter

ADDRESS = 0xFFFF_FFFF_8100_0000


def program(writer: BtfWriter, *symbols: str, size: int = 64) -> Program:
    prog = Program(drgn.Platform(drgn.Architecture.X86_64))
    types = BtfTypes(prog, writer.blob())
    known = {
        name: Symbol(name, ADDRESS + n, size, SymbolBinding.GLOBAL, SymbolKind.FUNC)
        for n, name in enumerate(symbols)
    }
    objects = BtfObjects(types, known.get, lambda _module: None)
    prog.register_type_finder("test", types.find_type, enable_index=0)
    prog.register_object_finder("test", objects.find_object, enable_index=0)
    return prog


def kernel() -> BtfWriter:
    w = BtfWriter()
    w.integer("int", 4, signed=True)
    w.integer("long unsigned int", 8)
    w.structure("nf_conn", 256)
    return w


def test_a_symbol_that_was_not_known_yet_is_asked_for_again() -> None:
    prog = Program(drgn.Platform(drgn.Architecture.X86_64))
    w = kernel()
    w.structure("list_head", 16)
    types = BtfTypes(prog, w.blob())
    known: dict[str, Symbol] = {}
    objects = BtfObjects(types, known.get, lambda _module: None)
    prog.register_type_finder("test", types.find_type, enable_index=0)
    prog.register_object_finder("test", objects.find_object, enable_index=0)
    with pytest.raises(LookupError):
        prog.variable("modules")
    known["modules"] = Symbol("modules", ADDRESS, 16, SymbolBinding.GLOBAL, SymbolKind.OBJECT)
    assert prog.variable("modules").address_ == ADDRESS


def test_a_declared_function_without_btf() -> None:
    prog = program(kernel(), "nf_ct_deliver_cached_events")
    found = prog.function("nf_ct_deliver_cached_events")
    assert found.address_ == ADDRESS
    assert found.type_.type_name() == "void (struct nf_conn *ct)"
    assert [p.name for p in found.type_.parameters] == ["ct"]


def test_btf_comes_first() -> None:
    w = kernel()
    proto = w.prototype(w.next_id - 2, ("other", w.next_id - 2))
    w.add(Kind.FUNC, "nf_ct_deliver_cached_events", proto)
    found = program(w, "nf_ct_deliver_cached_events").function("nf_ct_deliver_cached_events")
    assert [p.name for p in found.type_.parameters] == ["other"]


@pytest.mark.parametrize("symbols", [(), ("nf_ct_delete",)])
def test_no_symbol_or_no_type_is_no_function(symbols: tuple[str, ...]) -> None:
    prog = program(kernel(), *symbols)  # nf_ct_delete takes a u32, which is not there
    for name in ("nf_ct_delete", "nf_ct_deliver_cached_events", "anything"):
        with pytest.raises(LookupError):
            prog.function(name)


def test_one_file_of_a_name_is_not_told_from_another() -> None:
    prog = program(kernel(), "nf_ct_deliver_cached_events")
    with pytest.raises(LookupError):
        prog.function("nf_ct_deliver_cached_events", filename="nf_conntrack_ecache.c")


@pytest.mark.parametrize("counters", [("seqcount_t",), ("seqcount_t", "seqcount_raw_spinlock_t")])
def test_tk_core_of_either_counter(counters: tuple[str, ...]) -> None:
    w = kernel()
    small = w.structure("seqcount", 4, ("sequence", 1, 0))
    w.structure("timekeeper", 16, ("xtime_sec", 2, 0))
    large = w.structure("seqcount_raw_spinlock", 12, ("seqcount", small, 0))
    for counter in counters:
        w.add(Kind.TYPEDEF, counter, small if counter == "seqcount_t" else large)
    found = program(w, "tk_core")["tk_core"]
    assert found.type_.has_member("timekeeper")
    assert found.timekeeper.address_ == ADDRESS + (8 if len(counters) == 1 else 16)


@pytest.mark.parametrize(("size", "expected"), [(4, "unsigned int"), (16, "siphash_key_t")])
def test_the_declaration_that_has_room(size: int, expected: str) -> None:
    w = kernel()
    w.integer("unsigned int", 4)
    key = w.structure("siphash_key", 16, ("key", 2, 0))
    w.add(Kind.TYPEDEF, "siphash_key_t", key)
    prog = program(w, "nf_conntrack_hash_rnd", size=size)
    assert prog["nf_conntrack_hash_rnd"].type_.type_name() == expected
