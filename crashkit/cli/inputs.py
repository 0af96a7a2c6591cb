"""The files named on the command line: which is the dump, which are symbols; opening."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crashkit.cli.options import Options
from crashkit.cli.output import complain
from crashkit.errors import SymbolsError, UsageError
from crashkit.report.escape import safe
from crashkit.target import is_split_part

if TYPE_CHECKING:
    from crashkit.crash import Crash

_ELF = b"\x7fELF"
_ET_CORE = 4  # elf.h
_TYPE_OFFSET = 16  # e_type follows e_ident (ELF specification, figure 1-3)


def is_symbol_file(path: Path) -> bool:
    """Whether a file is ELF and no core dump: a vmlinux, a module or a debug file."""
    try:
        with path.open("rb") as file:
            head = file.read(_TYPE_OFFSET + 2)
    except OSError:
        return False  # opening it as a dump gives the sentence that says why
    if len(head) < _TYPE_OFFSET + 2 or not head.startswith(_ELF):
        return False
    order = "little" if head[5] == 1 else "big"
    kind = int.from_bytes(head[_TYPE_OFFSET:], "little" if order == "little" else "big")
    return kind != _ET_CORE


def tell_apart(files: list[Path]) -> tuple[Path, list[Path]]:
    """Tell the dump from its vmlinux, in either order.

    :returns: the dump and the symbol files
    :raises UsageError: no dump, or several
    """
    symbols = [path for path in files if is_symbol_file(path)]
    dumps = [path for path in files if path not in symbols]
    if not dumps and len(files) == 1:
        return files[0], []  # opening it gives the sentence that says what it is
    if not dumps:
        raise UsageError(f"{files[0]} is a vmlinux or module; name the vmcore as well")
    if len(dumps) > 1 and all(map(is_split_part, dumps)):
        return dumps[0], symbols  # the others are found beside it
    if len(dumps) > 1:
        raise UsageError(
            f"{dumps[0]} and {dumps[1]} are both no vmlinux; name one vmcore (and its vmlinux)"
        )
    return dumps[0], symbols


def open_crash(
    path: Path,
    options: Options,
    symbols: list[Path] | None = None,
    *,
    opened: Callable[[Crash], None] | None = None,
) -> Crash:
    """Open a dump with the options given.

    A vmlinux of another build is said so on stderr; the dump's own names and types are used
    then, where it has them.

    :param opened: called with the dump before its names and types are looked for
    """
    from crashkit import crash as crash_

    files = [*(options.symbols or []), *(symbols or [])]
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file} is not a file; name the vmlinux or module with -s")
    directories = options.debug_directory or []
    for directory in directories:
        if not directory.is_dir():
            raise UsageError(f"--debug-directory {directory} is not a directory")
    try:
        return crash_.open(
            path,
            symbols=files,
            debug_directory=directories or None,
            types=options.types,
            download=options.download,
            progress=None if options.quiet else _progress,
            opened=opened,
        )
    except SymbolsError as mismatch:
        if options.types != "auto" or not (files or options.download):
            raise
        crash = crash_.open(path, types="btf")
        if crash.types in ("symbols", "none"):
            crash.close()
            raise
        complain(f"warning: {safe(mismatch)}; going on with the dump's own names and types")
        return crash


_MIB = 1 << 20


def _progress(done: int, total: int | None) -> None:
    # On a terminal only: a log is not to be filled with it.
    if sys.stderr.isatty():
        of = f" of {total // _MIB}" if total else ""
        end = "\n" if total and done >= total else ""
        print(f"\rcrashkit: debug info: {done // _MIB}{of} MiB", end=end, file=sys.stderr)


def warn(crash: Crash, options: Options) -> None:
    """Print the crash's warnings to stderr unless told to be quiet."""
    if not options.quiet:
        for sentence in crash.warnings:
            complain(f"warning: {safe(sentence)}")
