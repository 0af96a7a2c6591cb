"""The DWARF reader, on small files built here, on broken ones and on hand-made expressions."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import drgn
import pytest
from drgn import Program

from crashkit.symbols.dwarf_expressions import Frame, NotUnderstoodError, Said, read_expression
from crashkit.symbols.dwarf_frame import (
    CallSite,
    Constant,
    EntryValue,
    FrameAddress,
    FrameVariable,
    LoadValue,
    RegisterValue,
    Value,
    call_site,
    frame_variables,
    parameter_locations,
)
from crashkit.symbols.dwarf_lists import Expression
from crashkit.symbols.dwarf_questions import Reader, open_reader
from crashkit.symbols.dwarf_sections import DwarfError, Section
from crashkit.symbols.dwarf_units import Unit

TEXT = 0x401000
LOADED = 0xFFFF_FFFF_C000_0000
PLACES = {".text": LOADED, ".bss": LOADED + 0x2000}

SOURCE = """
typedef unsigned long word;
struct pair { word first; int second[3]; };
extern void fill(char *, struct pair *);
extern word far_away(word, const void *, int, long, long, long, word);
int global;

__attribute__((noinline)) static word near_by(word number, int *where)
{
    asm volatile("" : : "r"(number), "r"(where)
                 : "memory", "rdi", "rsi", "rdx", "rcx", "r8", "r9");
    return number;
}

word caller(word count, struct pair *given, int unused)
{
    char buffer[24];
    struct pair pair = *given;

    fill(buffer, &pair);
    if (count > 3)
        near_by(count, &global);
    return far_away(5, buffer, unused, 1, 2, 3, 7) + given->first;
}

word tail(word count)
{
    return near_by(count + 8, 0);
}

word realigned(word count)
{
    char buffer[64] __attribute__((aligned(64)));
    fill(buffer, 0);
    return buffer[count];
}

void _start(void) { }
"""
REST = """
void fill(char *a, void *b) { }
unsigned long far_away(unsigned long a) { return a; }
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    folder: Path
    symbols: dict[str, int]
    """Name to offset from the start of the text."""
    calls: dict[tuple[str, str], int]
    """(caller, callee) to the offset of the instruction behind the call or jump."""

    def reader(self, kind: str) -> tuple[Reader, int]:
        """The file, and the run-time address of its text."""
        path = self.folder / kind
        if path.suffix == ".o":
            reader, base = open_reader(path, 0, PLACES), LOADED
        else:
            bias = 0x1D00_0000
            reader, base = open_reader(path, bias, {}), TEXT + bias
        assert reader is not None
        return reader, base


KINDS = ("5", "4", "5.o", "4.o", "5z")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to build the files with")
    folder = tmp_path_factory.mktemp("dwarf")
    (folder / "a.c").write_text(SOURCE)
    (folder / "b.c").write_text(REST)

    def gcc(*words: str) -> None:
        subprocess.run(["gcc", "-O2", "-fno-pic", "-fcf-protection=none", *words], check=True,
                       cwd=folder)  # fmt: skip

    link = ("-static", "-nostdlib", "-Wl,--build-id=none", f"-Wl,-Ttext={TEXT:#x}")
    gcc("-c", "b.c", "-o", "b.o")
    for version in "45":
        gcc("-g", f"-gdwarf-{version}", "-c", "a.c", "-o", f"{version}.o")
        gcc(*link, "-no-pie", f"{version}.o", "b.o", "-o", version)
    gcc(*link, "-no-pie", "-Wl,--compress-debug-sections=zlib", "5.o", "b.o", "-o", "5z")
    symbols, calls = _disassembled(folder / "5")
    return Built(folder=folder, symbols=symbols, calls=calls)


def _disassembled(path: Path) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    symbols: dict[str, int] = {}
    calls: dict[tuple[str, str], int] = {}
    words = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    inside, called = "", None
    for line in text.splitlines():
        if top := re.match(r"([0-9a-f]+) <(\w+)>:", line):
            inside, called = top[2], None
            symbols[inside] = int(top[1], 16) - TEXT
        elif instruction := re.match(r" +([0-9a-f]+):\t(.*)", line):
            if called is not None:
                calls[inside, called] = int(instruction[1], 16) - TEXT
            target = re.match(r"(?:call|jmp) +[0-9a-f]+ <(\w+)>", instruction[2])
            called = target[1] if target else None
    return symbols, calls


def absent(_name: str) -> int | None:
    return None


def call(built: Built, kind: str, inside: str, called: str) -> CallSite:
    reader, base = built.reader(kind)
    found = reader.call_site(base + built.calls[inside, called], absent)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_variables_in_the_frame_are_those_readelf_lists(built: Built, kind: str) -> None:
    reader, base = built.reader(kind)
    variables = reader.frame_variables(base + built.symbols["caller"])
    assert variables is not None
    whole = {v.name: v for v in variables if not v.listed}
    assert {name: v.size for name, v in whole.items()} == {"buffer": 24, "pair": 24}
    dump = subprocess.run(["readelf", "-wi", str(built.folder / kind)], check=True,
                          capture_output=True, text=True).stdout  # fmt: skip
    listed = {int(n) for n in re.findall(r"DW_AT_location *:.*\(DW_OP_fbreg: (-?\d+)\)", dump)}
    assert {v.offset for v in whole.values()} <= listed
    assert all(v.offset < -8 for v in whole.values())
    assert abs(whole["buffer"].offset - whole["pair"].offset) >= 24


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_in_their_registers_at_entry(built: Built, kind: str) -> None:
    reader, base = built.reader(kind)
    entry = base + built.symbols["caller"]
    found = reader.parameter_locations(entry, entry)
    assert {name: (place.kind, place.register, place.size) for name, place in found.items()} == {
        "count": ("register", "rdi", 8),
        "given": ("register", "rsi", 8),
        "unused": ("register", "rdx", 4),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_clobbered_parameter_has_its_entry_value(built: Built, kind: str) -> None:
    reader, base = built.reader(kind)
    after = base + built.calls["tail", "near_by"] - 1
    place = reader.parameter_locations(after, after)["count"]
    # The function adds to the register itself before it jumps.
    assert place.kind in ("entry-value", "expression")
    assert place.value in (EntryValue("rdi"), RegisterValue("rdi", -8))


@pytest.mark.parametrize("kind", KINDS)
def test_values_passed_by_a_call(built: Built, kind: str) -> None:
    reader, base = built.reader(kind)
    variables = reader.frame_variables(base + built.symbols["caller"])
    assert variables is not None
    place = {v.name: FrameAddress(v.offset) for v in variables}
    first = call(built, kind, "caller", "fill")
    assert place["pair"] in first.values.values()
    site = call(built, kind, "caller", "far_away")
    assert (site.tail, site.target, site.name) == (False, None, "far_away")
    assert site.values["rdi"] == Constant(5)
    assert site.values["rsi"] == first.values["rdi"]
    assert [site.values[name] for name in ("rcx", "r8", "r9")] == [Constant(n) for n in (1, 2, 3)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_static_function_and_an_object_have_run_time_addresses(built: Built, kind: str) -> None:
    _reader, base = built.reader(kind)
    site = call(built, kind, "caller", "near_by")
    assert site.target == base + built.symbols["near_by"]
    where = site.values["rsi"]
    assert isinstance(where, Constant)
    if base == LOADED:
        assert where.value == PLACES[".bss"]
    else:
        assert where.value > base


@pytest.mark.parametrize("kind", KINDS)
def test_a_tail_call_is_told_apart(built: Built, kind: str) -> None:
    site = call(built, kind, "tail", "near_by")
    assert site.tail
    assert site.values["rsi"] in (Constant(0), RegisterValue("rsi"))


def test_an_external_function_is_found_by_its_name(built: Built) -> None:
    reader, base = built.reader("5")
    asked: list[str] = []

    def address_of(name: str) -> int:
        asked.append(name)
        return 0x1234

    site = reader.call_site(base + built.calls["caller", "far_away"], address_of)
    assert site is not None
    assert (site.target, asked) == (0x1234, ["far_away"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_of_an_aligned_frame_is_measured_from_rsp(built: Built, kind: str) -> None:
    reader, base = built.reader(kind)
    (variable,) = reader.frame_variables(base + built.symbols["realigned"]) or ()
    assert (variable.name, variable.base, variable.size) == ("buffer", "rsp", 64)
    assert variable.offset % 64 == 0


def test_no_answer_where_nothing_is_described(built: Built) -> None:
    reader, base = built.reader("5")
    for address in (0, base - 1, base + built.symbols["fill"], (1 << 64) - 1):
        assert reader.frame_variables(address) is None
        assert reader.parameter_locations(address, address) == {}
        assert reader.call_site(address, absent) is None
    assert reader.call_site(base + built.symbols["caller"] + 1, absent) is None


def test_a_section_that_is_not_loaded_has_no_addresses(built: Built) -> None:
    reader = open_reader(built.folder / "5.o", 0, {".text": LOADED})
    assert reader is not None
    site = reader.call_site(LOADED + built.calls["caller", "near_by"], absent)
    assert site is not None
    assert "rsi" not in site.values
    gone = open_reader(built.folder / "5.o", 0, {})
    assert gone is not None
    for address in (LOADED + built.symbols["caller"], built.symbols["caller"], 0):
        assert gone.frame_variables(address) is None


def test_a_program_is_asked_by_run_time_address(built: Built) -> None:
    prog = Program(drgn.Platform(drgn.Architecture.X86_64))
    module = prog.relocatable_module("a", LOADED, create=True)
    module.address_ranges = [(LOADED, LOADED + 0x3000)]
    entry = LOADED + built.symbols["caller"]
    assert frame_variables(prog, entry) is None  # before it has a file
    for name, place in PLACES.items():
        module.section_addresses[name] = place
    module.section_addresses[".init.text"] = LOADED + 0x8000
    module.try_file(built.folder / "5.o", force=True)
    found = frame_variables(prog, entry)
    assert found is not None
    assert FrameVariable("buffer", found[0].offset, 24) in found
    assert parameter_locations(prog, entry, entry)["count"].register == "rdi"
    site = call_site(prog, LOADED + built.calls["caller", "far_away"])
    assert site is not None
    assert site.values["rdi"] == Constant(5)
    assert call_site(prog, 0) is None


def test_without_debug_files_the_reader_is_not_even_imported() -> None:
    code = (
        "import sys, drgn, crashkit.symbols.dwarf_frame as d;"
        "p = drgn.Program(drgn.Platform(drgn.Architecture.X86_64));"
        "assert d.frame_variables(p, 4096) is None;"
        "sys.exit(any('.dwarf_' in m and not m.endswith('frame') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["5", "4", "5.o", "4.o"])
def test_a_damaged_file_raises_nothing(built: Built, kind: str, tmp_path: Path) -> None:
    whole = (built.folder / kind).read_bytes()
    first = whole.index(b"\x7fELF") + 64
    chance = random.Random(kind)
    answers = 0
    for round_ in range(120):
        broken = bytearray(whole)
        for _ in range(chance.choice((1, 4, 40))):
            broken[chance.randrange(first, len(whole))] = chance.choice((0, 0xFF, 0x80, 1, 0x7F))
        if round_ % 10 == 0:
            del broken[chance.randrange(len(broken)) :]
        path = tmp_path / str(round_)
        path.write_bytes(broken)
        answers += _ask_everything(open_reader(path, 0, PLACES), built, kind)
    assert answers > 100  # most damage is elsewhere


def _ask_everything(reader: Reader | None, built: Built, kind: str) -> int:
    base, answers = LOADED if kind.endswith(".o") else TEXT, 0
    if reader is None:
        return 0
    for offset in built.symbols.values():
        answers += reader.frame_variables(base + offset) is not None
        answers += bool(reader.parameter_locations(base + offset, base + offset + 4))
    return answers + sum(
        reader.call_site(base + offset, absent) is not None for offset in built.calls.values()
    )


# Everything that gcc for the kernel does not write and clang does: indexed addresses,
# strings and lists, no .debug_aranges; a frame base that is a register.
INDEXED = """
    .text
    .globl f
f:  nop
    call g
1:  ret
2:
g:  ret
3:
    .section .debug_addr,"",@progbits
    .long 4f-5f
5:  .short 5
    .byte 8, 0
addresses:
    .quad f, 1b, g
4:
    .section .debug_str,"MS",@progbits,1
    .string "one"
name: .string "two"
    .section .debug_str_offsets,"",@progbits
    .long 12
    .short 5, 0
strings:
    .long 0, 4
    .section .debug_rnglists,"",@progbits
    .long 4f-5f
5:  .short 5
    .byte 8, 0
    .long 1
ranges:
    .long 4
    .byte 3, 0          # startx_length
    .uleb128 3b-f
    .byte 0
4:
    .section .debug_loclists,"",@progbits
    .long 4f-5f
5:  .short 5
    .byte 8, 0
    .long 1
lists:
    .long 4
    .byte 1, 0          # base_addressx
    .byte 4             # offset_pair
    .uleb128 0
    .uleb128 1b-f
    .byte 1, 0x55       # rdi
    .byte 5, 2, 0x91, 8 # default_location: fbreg 8
    .byte 0
4:
    .section .debug_abbrev,"",@progbits
    .byte 1, 0x11, 1, 0x72, 0x17, 0x73, 0x17, 0x74, 0x17, 0x8c, 1, 0x17, 0x55, 0x23, 0x11, 0x1b
    .byte 0, 0
    .byte 2, 0x2e, 1, 0x03, 0x25, 0x11, 0x29, 0x12, 0x0b, 0x40, 0x18, 0, 0
    .byte 3, 0x05, 0, 0x03, 0x1a, 0x02, 0x22, 0, 0
    .byte 4, 0x48, 1, 0x7d, 0x1b, 0x7f, 0x13, 0, 0
    .byte 5, 0x49, 0, 0x02, 0x18, 0x7e, 0x18, 0, 0
    .byte 6, 0x2e, 0, 0x03, 0x25, 0x11, 0x1b, 0x12, 0x0b, 0, 0
    .byte 0
    .section .debug_info,"",@progbits
unit:
    .long 4f-5f
5:  .short 5
    .byte 1, 8
    .long .debug_abbrev
    .byte 1
    .long strings, addresses, ranges, lists
    .byte 0, 0
    .byte 2, 0, 0, 2b-f, 1, 0x56    # f, its frame base is rbp
    .byte 3, 1, 0                   # two
    .byte 4, 1                      # the call
    .long callee-unit
    .byte 5, 1, 0x55, 2, 0xa1, 2    # rdi = addrx 2
    .byte 5, 1, 0x54, 2, 0x91, 8    # rsi = fbreg 8
    .byte 5, 2, 0x77, 8, 1, 0x37    # at rsp + 8: 7
    .byte 0, 0
callee:
    .byte 6, 1, 2, 3b-g
    .byte 0
4:
"""


def test_indexed_forms_and_units_without_aranges(tmp_path: Path) -> None:
    if shutil.which("as") is None:
        pytest.skip("no assembler")
    path = tmp_path / "clang.o"
    subprocess.run(["as", "-o", str(path)], check=True, input=INDEXED.encode())
    reader = open_reader(path, 0, {".text": LOADED})
    assert reader is not None
    site = reader.call_site(LOADED + 6, absent)
    assert site == CallSite(
        return_pc=LOADED + 6,
        tail=False,
        target=LOADED + 7,
        name="two",
        values={"rdi": Constant(LOADED + 7), "rsi": RegisterValue("rbp", 8)},
        stack={8: Constant(7)},
    )
    assert reader.frame_variables(LOADED) is None  # not measured from the CFA
    at_entry = reader.parameter_locations(LOADED, LOADED)
    assert (at_entry["two"].kind, at_entry["two"].register) == ("register", "rdi")
    after = reader.parameter_locations(LOADED, LOADED + 6)
    assert after["two"].kind == "expression"
    assert after["two"].value is None  # memory of a size that is not known


CFA = FrameAddress(0)
UNSIGNED = (1 << 64) - 1


def read(text: str, base: Value | None = CFA) -> Said:
    data = bytes.fromhex(text)
    where = Expression(Section(data, None, 0x100), data, 0, len(data), 0)
    return read_expression(where, Frame(_no_unit(), base))


def _no_unit() -> Unit:
    return Unit.__new__(Unit)  # only indexed addresses need one


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("55", Said("register", RegisterValue("rdi"))),
        ("9111", Said("memory", FrameAddress(17))),
        ("91687f", IndexError),
        ("9168", Said("memory", FrameAddress(-24))),
        ("919868", Said("memory", FrameAddress(-3048))),
        ("916806", Said("memory", LoadValue(FrameAddress(-24), 8))),
        ("91689404", Said("memory", LoadValue(FrameAddress(-24), 4))),
        ("7378", Said("memory", RegisterValue("rbx", -8))),
        ("73782308", Said("memory", RegisterValue("rbx", 0))),
        ("7300349f", Said("value", Constant(4))),
        ("730034229f", Said("value", RegisterValue("rbx", 4))),
        ("7300341c9f", Said("value", RegisterValue("rbx", -4))),
        ("a301559f", Said("value", EntryValue("rdi"))),
        ("f301559f", Said("value", EntryValue("rdi"))),
        ("a3015523089f", Said("value", EntryValue("rdi", 8))),
        ("a30275009f", Said("value", None)),
        ("a3047500559f9f", Said("value", None)),
        ("09ff9f", Said("value", Constant(UNSIGNED))),
        ("08ff9f", Said("value", Constant(0xFF))),
        ("0c000000809f", Said("value", Constant(0x8000_0000))),
        ("0300100000000000009f", Said("value", Constant(0x1100))),
        ("9e0201029f", DwarfError),
        ("9e020102", Said("value", Constant(0x0201))),
        ("73001e9f", IndexError),
        ("730073001e9f", Said("value", None)),
        ("730030280100139f", Said("value", None)),
        ("7300302801009112", NotUnderstoodError),
        ("9168a80c9f", Said("value", None)),
        (
            "559308916893089308",
            Said(
                "pieces",
                None,
                (
                    (Said("register", RegisterValue("rdi")), 8),
                    (Said("memory", FrameAddress(-24)), 8),
                    (Said("nothing"), 8),
                ),
            ),
        ),
        ("5cf0", Said("register", None)),
        ("", Said("nothing")),
        ("9c", Said("memory", FrameAddress(0))),
        ("ff", NotUnderstoodError),
        ("91", IndexError),
    ],
)
def test_expressions(text: str, said: Said | type[Exception]) -> None:
    if isinstance(said, Said):
        assert read(text) == said
        return
    with pytest.raises(said):
        read(text)


def test_without_a_frame_base_a_frame_offset_is_not_told() -> None:
    assert read("9168", None) == Said("memory", None)


def test_a_sum_wraps_as_the_machine_does() -> None:
    assert read("0e" + "ff" * 8 + "23029f") == Said("value", Constant(1))
