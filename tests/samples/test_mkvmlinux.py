"""``crashkit mkvmlinux`` on a committed sample: what drgn finds in the file, what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import drgn
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

from crashkit.crash import Crash, open_crash
from crashkit.mkvmlinux import PRODUCER, make
from crashkit.symbols.btf import Kind
from crashkit.symbols.btf_structures import CACHE_KEY
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.kallsyms import CoreSymbols
from crashkit.symbols.lookup import names_of
from tests.samples.conftest import PAGE, SAMPLES, mask, run_command

pytestmark = pytest.mark.sample

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"
COMPARED = 200


def mkvmlinux(*words: object) -> subprocess.CompletedProcess[str]:
    return run_command("mkvmlinux", *words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vmlinux of the sample, made once."""
    path = tmp_path_factory.mktemp("made") / "vmlinux"
    done = mkvmlinux(VMCORE, "-o", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "made from" in done.stdout
    assert [entry.name for entry in path.parent.iterdir()] == ["vmlinux"]
    return path


@pytest.fixture(scope="module")
def loaded(made: Path) -> drgn.Program:
    """The dump as drgn opens it with the made file, and nothing else."""
    prog = drgn.Program()
    prog.set_core_dump(VMCORE)
    prog.set_enabled_debug_info_finders([])
    module, _new = next(iter(prog.loaded_modules()))
    module.try_file(made)
    assert not module.wants_debug_file()  # its build id is the dump's
    return prog


def section(file: ELFFile, name: str) -> Section:
    found = file.get_section_by_name(name)
    assert found is not None
    return found


def layout(type_: drgn.Type) -> tuple[object, ...]:
    if type_.kind is drgn.TypeKind.ENUM:
        return tuple((e.name, e.value) for e in type_.enumerators or ())
    return (
        type_.size,
        *(
            (
                m.name,
                m.bit_offset,
                m.bit_field_size,
                m.type.type_name() if m.name else layout(m.type),
            )
            for m in type_.members or ()
        ),
    )


def test_types_are_those_of_btf(loaded: drgn.Program, sample: Callable[[str], Crash]) -> None:
    prog = sample("clash-ct-net").prog
    types = prog.cache[CACHE_KEY]
    assert isinstance(types, BtfTypes)
    words = {Kind.STRUCT: "struct", Kind.UNION: "union", Kind.ENUM: "enum"}
    records = [types.vmlinux.record(n) for n in types.vmlinux.ids_of_kind(*words)]
    names = sorted(
        {f"{words[r.kind]} {types.vmlinux.string(r.name_offset)}" for r in records if r.name_offset}
    )
    step = len(names) // COMPARED
    chosen = [*names[::step], "struct sk_buff", "struct task_struct", "struct nf_conn"]
    assert len(chosen) > COMPARED
    differ = [n for n in chosen if layout(loaded.type(n)) != layout(prog.type(n))]
    assert not differ


def test_symbols_are_those_of_kallsyms(made: Path, sample: Callable[[str], Crash]) -> None:
    crash = sample("clash-ct-net")
    finder = names_of(crash.prog).find_symbols
    assert isinstance(finder, CoreSymbols)
    expected = {(symbol.name, symbol.address) for symbol in finder.every(crash.prog)}
    shift = crash.target.vmcoreinfo.kernel_offset
    assert shift
    with made.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        linked = {(s.name, s["st_value"]) for s in table.iter_symbols() if s.name}
    assert len(expected) > 40_000
    # Per-CPU symbols count from 0 and are not moved.
    assert {(name, at + shift if at >> 63 else at) for name, at in linked} == expected


def test_variables_functions_and_code_are_the_dumps(
    loaded: drgn.Program, made: Path, sample: Callable[[str], Crash]
) -> None:
    crash = sample("clash-ct-net")
    for name in ("init_task", "runqueues", "slab_caches", "init_net", "vm_node_stat"):
        ours = crash.prog[name]
        assert loaded[name].address_ == ours.address_, name
        assert (
            loaded[name].type_.type_name().split(" [")[0] == ours.type_.type_name().split(" [")[0]
        )
    assert loaded["init_task"].comm.string_() == b"swapper/0"
    assert len(loaded["vm_node_stat"]) == int(crash.prog["NR_VM_NODE_STAT_ITEMS"])
    function = loaded["schedule"]
    assert function.type_.type_name() == "void (void)"
    shift = crash.target.vmcoreinfo.kernel_offset
    assert shift
    with made.open("rb") as file:
        read = ELFFile(file)
        text = section(read, ".text")
        at = function.address_ - shift - text["sh_addr"]
        assert text.data()[at : at + 64] == crash.prog.read(function.address_, 64)
        assert section(read, ".comment").data() == PRODUCER.encode() + b"\0"
        (unit,) = read.get_dwarf_info().iter_CUs()
        producer = unit.get_top_DIE().attributes["DW_AT_producer"].value
        assert b"made from a vmcore" in producer


def test_a_page_that_is_not_there_is_zero_and_named(tmp_path: Path) -> None:
    with open_crash(VMCORE, types="btf") as crash:
        address = crash.prog.symbol("init_task").address & ~(PAGE - 1)
        mask(crash.prog, address)
        with (tmp_path / "vmlinux").open("w+b") as file:
            lost = make(crash, file)
            data = section(ELFFile(file), ".data")
            at = address - lost.shift - data["sh_addr"]
            assert data.data()[at : at + PAGE] == bytes(PAGE)
    assert lost.missing == ((".data", address, PAGE),)


def test_nothing_but_a_vmlinux_is_replaced_and_that_only_when_told(
    made: Path, tmp_path: Path
) -> None:
    copy, text = tmp_path / "copy", tmp_path / "notes"
    copy.write_bytes(made.read_bytes()[:4096])
    text.write_text("mine")
    dump = tmp_path / "vmcore"
    dump.write_bytes(VMCORE.read_bytes()[:4096])
    for path, force in ((copy, ()), (text, ("--force",)), (dump, ("--force",))):
        before = path.read_bytes()
        done = mkvmlinux(VMCORE, "-o", path, *force)
        assert done.returncode == 2, path
        assert path.read_bytes() == before
    done = mkvmlinux(dump, "-o", dump, "--force")
    assert (done.returncode, "input itself" in done.stderr) == (2, True)
    assert mkvmlinux(VMCORE, "-o", copy, "--force").returncode == 0
    assert copy.stat().st_size == made.stat().st_size
    assert mkvmlinux(VMCORE).returncode == 2


def test_a_dump_without_btf_or_kallsyms_is_one_sentence(tmp_path: Path) -> None:
    done = mkvmlinux(SAMPLES / "clash-el7" / "vmcore", "-o", tmp_path / "vmlinux")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "kallsyms" in done.stderr
    assert list(tmp_path.iterdir()) == []
