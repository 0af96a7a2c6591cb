"""The files named on the command line: which is the dump, which are symbols; opening."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crashkit.cli.options import Options
from crashkit.cli.output import complain
from crashkit.cli.paths import check_directories, check_symbol_files, is_symbol_file
from crashkit.errors import SymbolsError, TargetError, UsageError
from crashkit.report.escape import safe
from crashkit.target import is_split_part

if TYPE_CHECKING:
    from crashkit.crash import Crash


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
    directories = options.debug_directory or []
    check_symbol_files(files)
    check_directories("--debug-directory", directories)
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


def open_dump(path: Path, options: Options, what: str) -> Crash:
    """Open a dump for a command to which a log alone is of no use.

    :param what: what the command does, as in ``there is nothing to disassemble``
    :raises TargetError: it is a log
    """
    crash = open_crash(path, options)
    if crash.target.format == "text":
        crash.close()
        raise TargetError(
            f"{path} is a log without a dump, so there is {what}; name the vmcore, or see what "
            "the log tells with `crashkit triage`"
        )
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
