"""A vmlinux made from a dump: its symbols, its types, its memory, for crash and gdb."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from drgn import Architecture, Program, Symbol, SymbolBinding, SymbolKind

from crashkit._version import __version__
from crashkit.errors import Reason, SymbolsError, Unavailable
from crashkit.symbols import elf_writer as elf
from crashkit.symbols.btf_dwarf import BtfDwarf
from crashkit.symbols.btf_structures import CACHE_KEY
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.dwarf_globals import write_globals
from crashkit.symbols.dwarf_writer import DwarfWriter
from crashkit.symbols.image import Image, read_image
from crashkit.symbols.kallsyms import CoreSymbols
from crashkit.symbols.lookup import names_of
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash import Crash

PRODUCER = f"crashkit {__version__}: made from a vmcore"
"""What the file says of itself: ``DW_AT_producer`` and ``.comment``."""
_MACHINES = {Architecture.X86_64: 62, Architecture.AARCH64: 183}  # EM_*
_KINDS = {SymbolKind.FUNC: elf.FUNC, SymbolKind.OBJECT: elf.OBJECT}
_BINDINGS = {SymbolBinding.GLOBAL: elf.GLOBAL, SymbolBinding.WEAK: elf.WEAK}


@facts
class Made:
    """What was written."""

    size: int
    """Bytes of the file."""
    symbols: int
    types: int
    functions: int
    """With a prototype."""
    variables: int
    """With a type."""
    shift: int
    """The KASLR offset that was taken off the addresses."""
    missing: tuple[tuple[str, int, int], ...]
    """Section, address as the kernel ran, bytes: not in the dump, zero in the file."""
    limits: tuple[str, ...]
    """Other sentences on what the file lacks."""


def check(crash: Crash) -> tuple[CoreSymbols, BtfTypes, int]:
    """Return the names and types of a dump, and its machine (``EM_*``).

    :raises SymbolsError: the dump lacks one of them, or is of a machine not known here
    """
    if crash.types != "btf":
        why = "; ".join(crash.warnings) or "the file is no dump of memory"
        raise SymbolsError(
            f"no vmlinux can be made of {crash.target.path} without its kallsyms and BTF: {why}"
        )
    prog = crash.prog
    symbols, types = names_of(prog).find_symbols, prog.cache.get(CACHE_KEY)
    if not isinstance(symbols, CoreSymbols) or not isinstance(types, BtfTypes):
        raise SymbolsError(
            f"no vmlinux can be made of {crash.target.path} without its kallsyms and BTF"
        )
    machine = _MACHINES.get(prog.platform.arch) if prog.platform else None
    if machine is None:
        raise SymbolsError(
            f"no vmlinux can be made of {crash.target.path}: {crash.target.arch} is not supported"
        )
    return symbols, types, machine


def make(crash: Crash, file: BinaryIO) -> Made:
    """Write the vmlinux of a dump that was opened with ``types="btf"``.

    :raises SymbolsError: the dump lacks kallsyms or BTF
    :raises Unavailable: they are corrupt
    """
    found, types, machine = check(crash)
    limits: list[str] = []
    every = found.every(crash.prog)
    addresses = {symbol.name: symbol.address for symbol in every}
    lowest = addresses.get("_text", 0)
    shift = _shift(crash, lowest, limits)
    image = read_image(crash.prog, addresses, shift)
    symbols = _symbols(every, lowest, shift, image.code)
    debug, counts = _debug_sections(crash.prog, types, symbols, image)
    sections = [
        *image.sections,
        *_build_id_note(crash.target.build_id, image, limits),
        *(elf.Section(name=name, data=data) for name, data in debug.items()),
        elf.Section(name=".comment", data=PRODUCER.encode() + b"\0"),
    ]
    size = elf.write_elf(file, machine, sections, symbols)
    return Made(
        size=size,
        symbols=len(symbols),
        types=counts["types"],
        functions=counts["functions"],
        variables=counts["variables"],
        shift=shift,
        missing=tuple(image.missing),
        limits=tuple(limits),
    )


def _shift(crash: Crash, lowest: int, limits: list[str]) -> int:
    try:
        shift = crash.target.vmcoreinfo.kernel_offset
        if shift <= lowest:
            return shift
        detail = f"{shift:#x} is above the kernel"
        raise Unavailable("VMCOREINFO KERNELOFFSET", Reason.CORRUPTED, detail)
    except Unavailable as missing:
        limits.append(f"{missing}: addresses are those of this boot, KASLR included")
        return 0


def _symbols(
    every: Sequence[Symbol], lowest: int, shift: int, code: Sequence[tuple[int, int]]
) -> list[elf.ElfSymbol]:
    # Per-CPU symbols that count from 0 were not moved. kallsyms of Linux 7 has data as "T".
    symbols = []
    for symbol in every:
        address = symbol.address - shift if symbol.address >= lowest else symbol.address
        kind = _KINDS.get(symbol.kind, elf.NOTYPE)
        if kind == elf.FUNC and not any(start <= address <= end for start, end in code):
            kind = elf.OBJECT
        binding = _BINDINGS.get(symbol.binding, elf.LOCAL)
        symbols.append(elf.ElfSymbol(symbol.name, address, symbol.size, binding, kind))
    return symbols


def _debug_sections(
    prog: Program, types: BtfTypes, symbols: Sequence[elf.ElfSymbol], image: Image
) -> tuple[dict[str, bytes], Counter[str]]:
    blob = types.vmlinux
    writer = DwarfWriter(
        blob.strings, blob.end_id, producer=PRODUCER, name="vmlinux", text=image.code
    )
    entries = BtfDwarf(types, writer)
    counts: Counter[str] = Counter()
    entries.write_types()
    counts["types"] = entries.count
    # Static functions of one name may differ in their prototypes; BTF has one of them.
    times = Counter(symbol.name for symbol in symbols)
    once = {symbol.name: symbol for symbol in symbols if times[symbol.name] == 1}
    places = {s.name: (s.address, s.size) for s in once.values() if s.kind == elf.FUNC and s.size}
    counts["functions"] = entries.write_functions(places)
    counts["variables"] = write_globals(prog, blob, writer, once)
    return writer.sections(), counts


def _build_id_note(build_id: str | None, image: Image, limits: list[str]) -> list[elf.Section]:
    # The kernel's own notes have it, unless their page is missing.
    raw = bytes.fromhex(build_id or "")
    note = b"\x04\0\0\0" + len(raw).to_bytes(4, "little") + b"\x03\0\0\0GNU\0" + raw
    if any(section.note and note in (section.data or b"") for section in image.sections):
        return []
    if not raw:
        limits.append(str(Unavailable("build id", Reason.NOT_IN_DUMP, "VMCOREINFO has none")))
        return []
    return [elf.Section(name=".note.gnu.build-id", data=note, note=True)]
