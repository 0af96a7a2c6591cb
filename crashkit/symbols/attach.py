"""Giving a program names and types: from DWARF files, from the dump itself, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drgn import MissingDebugInfoError, Module, Program, RelocatableModule

from crashkit.errors import Reason, SymbolsError, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols import kallsyms, modules
from crashkit.symbols.btf import Blob
from crashkit.symbols.btf_structures import CACHE_KEY as BTF_CACHE_KEY
from crashkit.symbols.btf_types import BtfTypes
from crashkit.symbols.debuginfo import DebugFile, module_files, vmlinux_candidates
from crashkit.symbols.lookup import Names, find_symbol, names_of, symbol_finder
from crashkit.symbols.objects import BtfObjects
from crashkit.value import facts

_FINDER = "crashkit"
_MAX_BTF = 256 << 20


@dataclass(kw_only=True)
class Attached:
    """What a program's names and types come from."""

    level: str = "none"
    """``dwarf``, ``hybrid``, ``btf``, ``symbols`` or ``none``."""
    files: list[DebugFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """A sentence for each thing that could not be read."""
    objects: BtfObjects | None = None


@facts
class Wanted:
    """What the caller asked for."""

    types: str = "auto"
    """``auto``, ``dwarf`` or ``btf``."""
    files: Sequence[Path] = ()
    """vmlinux and module files named by the user."""
    directories: Sequence[Path] = ()
    release: str | None = None
    build_id: str | None = None


def attach(prog: Program, wanted: Wanted) -> Attached:
    """Give ``prog`` names and types.

    :raises SymbolsError: DWARF was forced and is not to be had, or a file that the user
        named belongs to another build
    """
    attached = Attached()
    names = names_of(prog)
    _attach_kallsyms(prog, names, attached)
    vmlinux = None if wanted.types == "btf" else _load_vmlinux(prog, wanted)
    if vmlinux is None and wanted.types == "dwarf":
        raise SymbolsError(_no_vmlinux(wanted))
    if vmlinux is not None:
        attached.level = "dwarf"
        attached.files.append(DebugFile(module="vmlinux", status="found", path=str(vmlinux)))
        attached.problems.clear()  # without kallsyms: the file has the names
        if names.text is None:
            _note_text(prog, names)
        _attach_modules(prog, names, attached, wanted)
        return attached
    if names.find_symbols is None:
        attached.files.append(DebugFile(module="vmlinux", status="missing"))
        return attached
    attached.level = "symbols"
    if _attach_btf(prog, names, attached, position=0):
        attached.level = "btf"
        _attach_modules(prog, names, attached, wanted)
    status = "in-core" if attached.level == "btf" else "missing"
    attached.files.insert(0, DebugFile(module="vmlinux", status=status))
    return attached


def adopt(prog: Program, *, finders: bool) -> Attached:
    """Learn the names of a program that someone else opened.

    Its finders stay as they are; with ``finders``, crashkit's are appended behind them.

    :param finders: append finders over the dump's own kallsyms and BTF
    """
    attached = Attached(files=[DebugFile(module="vmlinux", status="found")], level="dwarf")
    names = names_of(prog)
    _load_kallsyms(prog, names, attached)
    if finders and names.find_symbols is not None:
        prog.register_symbol_finder(f"{_FINDER}.kallsyms", names.find_symbols, enable_index=-1)
    if not _has_types(prog):
        attached.level = "btf" if finders and _attach_btf(prog, names, attached, -1) else "none"
        attached.files = [DebugFile(module="vmlinux", status="in-core")]
    elif finders and _attach_btf(prog, names, attached, -1):
        attached.level = "hybrid"
    if attached.level != "none":
        _name_modules(prog, names, attached)
    return attached


def _has_types(prog: Program) -> bool:
    try:
        prog.type("struct module")
    except LookupError:
        return False
    return True


def _no_vmlinux(wanted: Wanted) -> str:
    return (
        f"no vmlinux with build id {wanted.build_id or 'unknown'}"
        f" ({wanted.release or 'release unknown'}) was found;"
        " install the kernel's debug package, name the file with -s,"
        " or leave out --types dwarf to read names and types from the dump"
    )


def _attach_kallsyms(prog: Program, names: Names, attached: Attached) -> None:
    _load_kallsyms(prog, names, attached)
    if names.find_symbols is not None:
        prog.register_symbol_finder(f"{_FINDER}.kallsyms", names.find_symbols, enable_index=0)


def _load_kallsyms(prog: Program, names: Names, attached: Attached) -> None:
    try:
        names.find_symbols = kallsyms.load_vmlinux(prog)
    except Unavailable as missing:
        attached.problems.append(str(missing))
    _note_text(prog, names)


def _note_text(prog: Program, names: Names) -> None:
    names.at.clear()
    start, end = find_symbol(prog, "_stext"), find_symbol(prog, "_end")
    if start is not None and end is not None:
        names.text = (start.address, end.address)


def _load_vmlinux(prog: Program, wanted: Wanted) -> Path | None:
    named = [path for path in wanted.files if _is_kernel_file(path)]
    for path in wanted.files:
        _check_readable(path)
    for path in named:
        if not _try_main(prog, path):
            raise SymbolsError(
                f"{path} is not the vmlinux of this dump: the dump's build id is"
                f" {wanted.build_id or 'unknown'} ({wanted.release or 'release unknown'});"
                " name the vmlinux of that build, or none to read names and types from the dump"
            )
        return path
    for path in vmlinux_candidates(wanted.release, wanted.build_id, wanted.directories):
        if _try_main(prog, path):
            return path
    return None


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise SymbolsError(f"{path} cannot be read ({error.strerror}); name another -s") from error


def _is_kernel_file(path: Path) -> bool:
    return ".ko" not in path.suffixes


def _try_main(prog: Program, path: Path) -> bool:
    module = _main_module(prog)
    if module is None:
        return False
    try:
        module.try_file(path)
    except (OSError, ValueError, MissingDebugInfoError) as error:
        raise SymbolsError(f"{path} cannot be read as debug info: {error}") from error
    return not module.wants_debug_file()


def _main_module(prog: Program) -> Module | None:
    # The first loaded module is the kernel; listing the others needs its types first.
    for module, _new in prog.loaded_modules():
        return module
    return None


def _attach_btf(prog: Program, names: Names, attached: Attached, position: int) -> bool:
    try:
        blob = _vmlinux_blob(prog)
    except Unavailable as missing:
        attached.problems.append(str(missing))
        return False
    types = prog.cache[BTF_CACHE_KEY] = BtfTypes(prog, blob)
    objects = BtfObjects(
        types,
        symbol_finder(prog),
        lambda module: modules.module_percpu(prog, names.modules, module),
    )
    prog.register_type_finder(f"{_FINDER}.btf", types.find_type, enable_index=position)
    prog.register_object_finder(f"{_FINDER}.btf", objects.find_object, enable_index=position)
    attached.objects = objects

    def load() -> list[Blob]:
        blobs, problems = modules.module_blobs(prog, blob)
        attached.problems += problems
        return blobs

    types.use_modules(load)
    return True


def _vmlinux_blob(prog: Program) -> Blob:
    start, stop = find_symbol(prog, "__start_BTF"), find_symbol(prog, "__stop_BTF")
    if start is None or stop is None or not 0 < stop.address - start.address <= _MAX_BTF:
        raise Unavailable("BTF of vmlinux", Reason.NO_DEBUGINFO, "no __start_BTF..__stop_BTF")
    size = stop.address - start.address
    return Blob("vmlinux", read_bytes(prog, start.address, size, "BTF of vmlinux"))


def _name_modules(prog: Program, names: Names, attached: Attached) -> list[RelocatableModule]:
    # Where the loaded modules lie and what their symbols are; registers nothing.
    kernel = _main_module(prog)
    if attached.level == "btf" and names.text is not None and kernel is not None:
        # Without a vmlinux file drgn does not know where the kernel lies, finds no module
        # for any pc and unwinds by frame pointer: frames lost or invented, no error. Set
        # before the modules are listed, so that a damaged one cannot claim the kernel's.
        kernel.address_range = names.text
    listed, problems = modules.loaded_modules(prog)
    attached.problems += problems
    names.modules[:] = [described for _module, described in listed]
    symbols, failed = kallsyms.load_modules([module.object for module, _described in listed])
    attached.problems += [f"symbols of module {name}: {why}" for name, why in failed]
    names.find_module_symbols = symbols
    names.at.clear()
    return [module for module, _described in listed]


def _attach_modules(prog: Program, names: Names, attached: Attached, wanted: Wanted) -> None:
    listed = _name_modules(prog, names, attached)
    if names.find_module_symbols is not None:
        prog.register_symbol_finder(f"{_FINDER}.modules", names.find_module_symbols, enable_index=1)
    if attached.level == "btf":
        attached.files += [
            DebugFile(module=described.name, status="in-core") for described in names.modules
        ]
        return
    _load_module_files(prog, names, attached, wanted, listed)


def _load_module_files(
    prog: Program, names: Names, attached: Attached, wanted: Wanted, listed: list[RelocatableModule]
) -> None:
    files = module_files(wanted.release, wanted.directories)
    named = {_module_name(path): path for path in wanted.files if not _is_kernel_file(path)}
    lacking = []
    for module in listed:
        path = named.get(module.name) or files.get(module.name)
        if path is not None:
            module.try_file(path)
        if path is not None and not module.wants_debug_file():
            attached.files.append(DebugFile(module=module.name, status="found", path=str(path)))
            continue
        if module.name in named:
            raise SymbolsError(f"{named[module.name]} is not of the build of the dump's module")
        lacking.append(module.name)
    if lacking and names.find_symbols and _attach_btf(prog, names, attached, position=-1):
        attached.level = "hybrid"
        attached.files += [DebugFile(module=name, status="in-core") for name in lacking]
    else:
        attached.files += [DebugFile(module=name, status="missing") for name in lacking]


def _module_name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")
