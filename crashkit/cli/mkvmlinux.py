"""The command ``mkvmlinux``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crashkit.cli.app import Vmcore, app, command
from crashkit.cli.options import Options
from crashkit.cli.output import Output, complain
from crashkit.cli.paths import check_directories, is_same, is_symbol_file, is_there
from crashkit.errors import UsageError

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.mkvmlinux import Made

_MODE = 0o644
_INCOMPLETE = 5
_MANY = 20


def register() -> None:
    """Add the command to the application."""
    command(app, "mkvmlinux", formats=("text",))(mkvmlinux)


def mkvmlinux(
    vmcore: Vmcore,
    options: Options,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace the output file, if it is a vmlinux.")
    ] = False,
) -> int:
    """Make a vmlinux for crash and gdb out of the dump itself (-o says where)."""
    from crashkit.cli.inputs import open_dump
    from crashkit.mkvmlinux import check

    path = _checked(options, vmcore, force)
    with open_dump(vmcore, _in_core(options), "nothing to make a vmlinux of") as crash:
        check(crash)
        made = _write(crash, path)
        if not options.quiet:
            _complain_of(made)
        Output(None, (), "never").write(_summary(crash, made, path))
    return _INCOMPLETE if made.missing else 0


def _in_core(options: Options) -> Options:
    if options.symbols or options.debug_directory or options.types == "dwarf" or options.download:
        raise UsageError(
            "mkvmlinux takes everything from the dump; leave out -s, --debug-directory,"
            " --download and --types dwarf"
        )
    return Options(types="btf", quiet=options.quiet, verbose=options.verbose)


def _checked(options: Options, vmcore: Path, force: bool) -> Path:
    # Nothing but an ELF executable is ever replaced, so no dump can be.
    path = options.output
    if path is None:
        raise UsageError("mkvmlinux needs -o FILE, the vmlinux to write")
    if is_same(path, vmcore):
        raise UsageError(f"{path} is the input itself; name another output file")
    if is_there(path) and not force:
        raise UsageError(f"{path} exists; --force replaces it")
    if is_there(path) and not is_symbol_file(path):
        raise UsageError(f"{path} is no vmlinux and is not replaced; name another output file")
    check_directories("-o: its directory", [path.parent])
    return path


def _write(crash: Crash, path: Path) -> Made:
    # Beside its place and then moved there: whoever has the old one open keeps it.
    from crashkit.mkvmlinux import make

    path = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                made = make(crash, file)
            temporary.chmod(_MODE & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); name another file with -o"
        ) from error
    return made


def _umask() -> int:
    # It can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _complain_of(made: Made) -> None:
    from crashkit.report.escape import safe

    for sentence in made.limits:
        complain(f"warning: {safe(sentence)}")
    for section, address, size in made.missing[:_MANY]:
        complain(
            f"warning: {size} bytes at {address:016x} ({section}) are not in the dump;"
            " they are zero in the file"
        )
    rest = made.missing[_MANY:]
    if rest:
        size = sum(entry[2] for entry in rest)
        complain(f"warning: and {size} bytes more in {len(rest)} places, zero in the file")


def _summary(crash: Crash, made: Made, path: Path) -> str:
    from crashkit.report.escape import safe

    release, build_id = crash.target.release or "of unknown release", crash.target.build_id
    what = f"a vmlinux of Linux {release}, build id {build_id or 'unknown'}"
    counts = f"{made.symbols} symbols, {made.types} types, {made.variables} variables with types"
    lines = (
        f"{path}: {what}, made from {crash.target.path}",
        f"  {counts}, {made.functions} functions with prototypes",
        f"  addresses are without the KASLR offset {made.shift:#x}",
        "  code and data are the dump's, as they were at the crash; what was freed is zero",
        "  not in it: source lines, local variables, inlined functions, types of modules",
    )
    return "".join(f"{safe(line)}\n" for line in lines)
