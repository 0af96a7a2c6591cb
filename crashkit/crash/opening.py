"""Opening a vmcore as a Crash."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from crashkit.crash.core import Crash
from crashkit.symbols.attach import Wanted, attach
from crashkit.target import identify, open_program


def open_crash(
    path: str | Path,
    *,
    symbols: Sequence[str | Path] = (),
    debug_directory: str | Path | Sequence[str | Path] | None = None,
    types: str = "auto",
) -> Crash:
    """Open a vmcore.

    :param symbols: vmlinux and module files; a file of another build is an error
    :param debug_directory: directories laid out like ``/usr/lib/debug``
    :param types: ``auto``, ``dwarf`` (only debug files) or ``btf`` (only the dump itself)
    :raises UsageError: the live kernel was named
    :raises TargetError: the dump cannot be opened
    :raises SymbolsError: debug info was demanded and is missing or of another build
    """
    started = time.monotonic()
    target = identify(path)
    if target.format == "text":
        return Crash.from_text(target)
    prog = open_program(target)
    directories = _directories(debug_directory)
    attached = attach(
        prog,
        Wanted(
            types=types,
            files=tuple(Path(file) for file in symbols),
            directories=directories,
            release=target.release,
            build_id=target.build_id,
        ),
    )
    crash = Crash(target, prog, attached)
    crash.timing["open"] = time.monotonic() - started
    return crash


def _directories(given: str | Path | Sequence[str | Path] | None) -> tuple[Path, ...]:
    if given is None:
        return ()
    if isinstance(given, (str, Path)):
        return (Path(given),)
    return tuple(Path(directory) for directory in given)
