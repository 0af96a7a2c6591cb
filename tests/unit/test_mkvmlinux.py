"""A made vmlinux: DWARF written from BTF, read back by pyelftools; the ELF file around it."""

from __future__ import annotations

import io
from typing import Any

import drgn
import pytest
from drgn import Program
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from crashkit.errors import Reason, Unavailable
from crashkit.symbols import elf_writer as elf
from crashkit.symbols.btf import Blob, Kind
from crashkit.symbols.btf_dwarf import BtfDwarf
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.dwarf_shapes import SLEB_BYTES, padded_sleb
from crashkit.symbols.dwarf_variables import Variables
from crashkit.symbols.dwarf_writer import DwarfWriter
from tests.unit.btf_doubles import BtfWriter

TEXT = 0xFFFFFFFF81000000
X86_64 = 62
VALUE = 0xFFFFFFFF82000000


class Made:
    """A file made of one blob, as pyelftools reads it."""

    def __init__(self, blob: Blob, places: dict[str, tuple[int, int]] | None = None) -> None:
        self.prog = Program(drgn.Platform(drgn.Architecture.X86_64))
        self.types = BtfTypes(self.prog, blob)
        self.prog.register_type_finder("test", self.types.find_type, enable_index=0)
        self.writer = DwarfWriter(
            blob.strings, blob.end_id, producer="a test", name="x", text=[(TEXT, TEXT + 0x100)]
        )
        self.entries = BtfDwarf(self.types, self.writer)
        self.entries.write_types()
        self.functions = self.entries.write_functions(places or {})
        self.variables = Variables(blob, self.writer)

    def read(self) -> dict[str, DIE]:
        """The entries of the unit by name."""
        file = io.BytesIO()
        sections = [elf.Section(name=n, data=d) for n, d in self.writer.sections().items()]
        elf.write_elf(file, X86_64, sections, [])
        dwarf = ELFFile(file).get_dwarf_info()
        (unit,) = dwarf.iter_CUs()
        assert unit["version"] == 4
        self.top = unit.get_top_DIE()
        children = list(self.top.iter_children())
        return {name(die): die for die in children if name(die)}


def name(die: DIE) -> str:
    found = die.attributes.get("DW_AT_name")
    return found.value.decode() if found else ""


def value(die: DIE, attribute: str) -> Any:
    found = die.attributes.get(attribute)
    return found.value if found else None


def spelled(die: DIE) -> str:
    """The type of an entry in words, through its reference."""
    if "DW_AT_type" not in die.attributes:
        return "void"
    to = die.get_DIE_from_attribute("DW_AT_type")
    tag = str(to.tag).removeprefix("DW_TAG_").removesuffix("_type")
    if tag == "array":
        (part,) = to.iter_children()
        count = value(part, "DW_AT_count")
        return f"{spelled(to)}[{'' if count is None else count}]"
    if tag == "subroutine":
        return f"{spelled(to)}({', '.join(map(parameter, to.iter_children()))})"
    return f"{tag} {name(to)}" if name(to) else f"{tag} {spelled(to)}"


def parameter(die: DIE) -> str:
    return "..." if die.tag == "DW_TAG_unspecified_parameters" else spelled(die)


def members(die: DIE) -> list[tuple[str, int | None, str]]:
    return [
        (name(m), value(m, "DW_AT_data_member_location"), spelled(m)) for m in die.iter_children()
    ]


def test_structures_have_their_sizes_offsets_and_refer_to_themselves() -> None:
    w = BtfWriter()
    long_ = w.integer("long unsigned int", 8)
    int_ = w.integer("int", 4, signed=True)
    node = w.next_id + 1
    pointer = w.pointer(node)
    w.structure("node", 24, ("next", pointer, 0), ("value", long_, 64), ("n", int_, 128))
    found = Made(w.blob()).read()
    assert value(found["node"], "DW_AT_byte_size") == 24
    assert members(found["node"]) == [
        ("next", 0, "pointer structure node"),
        ("value", 8, "base long unsigned int"),
        ("n", 16, "base int"),
    ]
    assert value(found["int"], "DW_AT_encoding") == 5  # DW_ATE_signed
    assert value(found["long unsigned int"], "DW_AT_encoding") == 7


def test_bit_fields_and_unnamed_members() -> None:
    w = BtfWriter()
    int_ = w.integer("unsigned int", 4)
    inner = w.add(Kind.UNION, "", 4, w.string("a"), int_, 0, vlen=1)
    w.structure(
        "s", 12,
        ("plain", int_, 0), ("low", int_, 32 | 3 << 24), ("high", int_, 35 | 5 << 24),
        ("", inner, 64), flag=1,
    )  # fmt: skip
    found = Made(w.blob()).read()
    plain, low, high, unnamed = found["s"].iter_children()
    assert value(plain, "DW_AT_data_member_location") == 0
    bits = [(value(m, "DW_AT_data_bit_offset"), value(m, "DW_AT_bit_size")) for m in (low, high)]
    assert bits == [(32, 3), (35, 5)]
    assert "DW_AT_name" not in unnamed.attributes
    assert value(unnamed, "DW_AT_data_member_location") == 8
    assert members(unnamed.get_DIE_from_attribute("DW_AT_type")) == [("a", 0, "base unsigned int")]


def test_arrays_of_no_elements_are_open_at_the_end_of_a_structure_only() -> None:
    w = BtfWriter()
    char = w.integer("char", 1, signed=True)
    none = w.add(Kind.ARRAY, "", 0, char, char, 0)
    some = w.add(Kind.ARRAY, "", 0, char, char, 16)
    w.structure("s", 16, ("mark", none, 0), ("comm", some, 0), ("data", none, 128))
    assert members(Made(w.blob()).read()["s"]) == [
        ("mark", 0, "base char[0]"),
        ("comm", 0, "base char[16]"),
        ("data", 16, "base char[]"),
    ]


def test_enumerators_keep_their_sign() -> None:
    w = BtfWriter()
    w.enumeration("plain", ("ZERO", 0), ("BIG", 0x7FFFFFFF))
    w.enumeration("signed", ("NEGATIVE", -2), ("ONE", 1), flag=1)
    w.add(Kind.ENUM64, "wide", 8, w.string("HIGH"), 5, 0x80000000, vlen=1)
    found = Made(w.blob()).read()
    pairs = {
        key: [(name(e), value(e, "DW_AT_const_value")) for e in found[key].iter_children()]
        for key in ("plain", "signed", "wide")
    }
    assert pairs == {
        "plain": [("ZERO", 0), ("BIG", 0x7FFFFFFF)],
        "signed": [("NEGATIVE", -2), ("ONE", 1)],
        "wide": [("HIGH", 0x80000000_00000005)],
    }


def test_qualifiers_function_pointers_and_void() -> None:
    w = BtfWriter()
    int_ = w.integer("int", 4, signed=True)
    constant = w.add(Kind.CONST, "", 0)
    to_constant = w.pointer(constant)
    tag = w.add(Kind.TYPE_TAG, "user", int_)
    to_tag = w.pointer(tag)
    to_void_tag = w.pointer(w.add(Kind.TYPE_TAG, "rcu", 0))
    proto = w.prototype(int_, ("p", to_constant), ("", to_tag), ("", 0))
    callback = w.pointer(proto)
    nothing = w.pointer(w.prototype(0))
    w.structure("ops", 24, ("call", callback, 0), ("stop", nothing, 64), ("raw", to_void_tag, 128))
    w.add(Kind.TYPEDEF, "ops_t", w.next_id - 1)
    found = Made(w.blob()).read()
    assert [spelled for _name, _at, spelled in members(found["ops"])] == [
        "pointer base int(pointer const void, pointer base int, ...)",
        "pointer void()",
        "pointer void",
    ]
    assert spelled(found["ops_t"]) == "structure ops"


def test_a_forward_declaration_is_its_definition_where_there_is_one() -> None:
    w = BtfWriter()
    known = w.pointer(w.add(Kind.FWD, "sock", 0))
    unknown = w.pointer(w.add(Kind.FWD, "opaque", 0))
    int_ = w.integer("int", 4, signed=True)
    w.structure("sock", 4, ("state", int_, 0))
    w.structure("user", 16, ("sk", known, 0), ("o", unknown, 64))
    sk, opaque = Made(w.blob()).read()["user"].iter_children()
    pointed = [m.get_DIE_from_attribute("DW_AT_type") for m in (sk, opaque)]
    sock, declared = (p.get_DIE_from_attribute("DW_AT_type") for p in pointed)
    assert (name(sock), value(sock, "DW_AT_byte_size")) == ("sock", 4)
    assert (name(declared), value(declared, "DW_AT_declaration")) == ("opaque", True)


def test_functions_have_prototypes_where_their_place_is_known() -> None:
    w = BtfWriter()
    int_ = w.integer("int", 4, signed=True)
    proto = w.prototype(int_, ("count", int_))
    w.add(Kind.FUNC, "here", proto)
    w.add(Kind.FUNC, "elsewhere", proto)
    made = Made(w.blob(), {"here": (TEXT + 0x10, 0x20)})
    found = made.read()
    assert made.functions == 1
    assert "elsewhere" not in found
    here = found["here"]
    assert (value(here, "DW_AT_low_pc"), value(here, "DW_AT_high_pc")) == (TEXT + 0x10, 0x20)
    assert [(name(p), spelled(p)) for p in here.iter_children()] == [("count", "base int")]
    assert value(made.top, "DW_AT_producer") == b"a test"


def test_variables_have_types_that_btf_lacks() -> None:
    w = BtfWriter()
    w.integer("long unsigned int", 8)
    w.structure("task", 8)
    made = Made(w.blob())
    typed = made.prog.array_type(made.prog.pointer_type(made.prog.type("struct task")), 3)
    assert made.variables.write_typed("tasks", VALUE, typed)
    assert made.variables.write_typed("jiffies", VALUE + 64, made.prog.type("unsigned long"))
    other = Program(drgn.Platform(drgn.Architecture.X86_64))
    assert not made.variables.write_typed("x", VALUE, other.struct_type("unknown", 1, ()))
    found = made.read()
    assert spelled(found["tasks"]) == "pointer structure task[3]"
    assert bytes(value(found["tasks"], "DW_AT_location")) == b"\x03" + VALUE.to_bytes(8, "little")
    assert spelled(found["jiffies"]) == "base long unsigned int"
    assert "x" not in found


@pytest.mark.parametrize("kind", [Kind.TYPEDEF, Kind.CONST, Kind.TYPE_TAG])
def test_types_that_nest_without_end_are_refused(kind: Kind) -> None:
    w = BtfWriter()
    w.add(kind, "loop" if kind is Kind.TYPEDEF else "", w.next_id)
    with pytest.raises(Unavailable) as caught:
        Made(w.blob())
    assert caught.value.reason is Reason.CORRUPTED


def test_a_reference_to_what_is_no_type_is_refused() -> None:
    w = BtfWriter()
    int_ = w.integer("int", 4, signed=True)
    function = w.add(Kind.FUNC, "f", w.prototype(int_))
    w.structure("s", 4, ("bad", function, 0))
    with pytest.raises(Unavailable) as caught:
        Made(w.blob()).read()
    assert caught.value.reason is Reason.CORRUPTED


def test_old_bit_fields_are_refused_rather_than_misplaced() -> None:
    w = BtfWriter()
    int_ = w.integer("int", 4, signed=True)
    w.structure("s", 4, ("bit", int_, 3))
    with pytest.raises(Unavailable) as caught:
        Made(w.blob())
    assert caught.value.reason is Reason.UNSUPPORTED


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_padded_numbers_are_sleb128(number: int) -> None:
    encoded = padded_sleb(number)
    assert len(encoded) == SLEB_BYTES
    decoded = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(encoded))
    assert [byte >> 7 for byte in encoded] == [1] * (SLEB_BYTES - 1) + [0]
    assert decoded - (decoded >> 69 << 70) == number


def test_the_file_has_its_sections_segments_and_symbols() -> None:
    sections = [
        elf.Section(name=".text", data=b"\x90" * 32, address=TEXT + 8, size=32, flags=6),
        elf.Section(name=".bss", data=None, address=VALUE, size=4096, flags=3),
        elf.Section(name=".note", data=b"n" * 16, note=True),
    ]
    symbols = [
        elf.ElfSymbol("global", TEXT + 16, 4, elf.GLOBAL, elf.FUNC),
        elf.ElfSymbol("local", VALUE + 8, 8, elf.LOCAL, elf.OBJECT),
        elf.ElfSymbol("end", VALUE + 4096, 0, elf.GLOBAL, elf.NOTYPE),
        elf.ElfSymbol("far", 5, 0, elf.GLOBAL, elf.NOTYPE),
    ]
    file = io.BytesIO()
    size = elf.write_elf(file, X86_64, sections, symbols)
    assert size == len(file.getvalue())
    read = ELFFile(file)
    assert (read["e_type"], read["e_machine"]) == ("ET_EXEC", "EM_X86_64")
    text, bss, table = (read.get_section_by_name(n) for n in (".text", ".bss", ".symtab"))
    assert text is not None
    assert text.data() == b"\x90" * 32
    assert bss is not None
    assert bss["sh_type"] == "SHT_NOBITS"
    assert isinstance(table, SymbolTableSection)
    loads = [s for s in read.iter_segments() if s["p_type"] == "PT_LOAD"]
    assert [(s["p_vaddr"], s["p_filesz"], s["p_memsz"]) for s in loads] == [
        (TEXT + 8, 32, 32),
        (VALUE, 0, 4096),
    ]
    assert loads[0]["p_offset"] % 4096 == 8
    assert [s.data() for s in read.iter_segments() if s["p_type"] == "PT_NOTE"] == [b"n" * 16]
    named = {symbol.name: symbol for symbol in table.iter_symbols() if symbol.name}
    assert {n: (s["st_value"], s["st_shndx"]) for n, s in named.items()} == {
        "global": (TEXT + 16, 1),
        "local": (VALUE + 8, 2),
        "end": (VALUE + 4096, 2),
        "far": (5, "SHN_ABS"),
    }
    locals_ = [s["st_info"]["bind"] == "STB_LOCAL" for s in table.iter_symbols()]
    assert locals_ == [True] * table["sh_info"] + [False] * 3
