"""Opening a vmcore as a Crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crashkit.crash.core import Crash
from crashkit.errors import SymbolsError
from crashkit.symbols.attach import Attached, Wanted, attach
from crashkit.symbols.debuginfo import DebugFile, vmlinux_candidates
from crashkit.target import Target, identify, open_program

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have come and those that will, if the server said."""


def open_crash(
    path: str | Path,
    *,
    symbols: Sequence[str | Path] = (),
    debug_directory: str | Path | Sequence[str | Path] | None = None,
    types: str = "auto",
    download: bool = False,
    progress: Progress | None = None,
    opened: Callable[[Crash], None] | None = None,
) -> Crash:
    """Open a vmcore.

    :param symbols: vmlinux and module files; a file of another build is an error
    :param debug_directory: directories laid out like ``/usr/lib/debug``
    :param types: ``auto``, ``dwarf`` (only debug files) or ``btf`` (only the dump itself)
    :param download: ask debuginfod for the kernel's debug info where none is found here
    :param progress: called with the bytes fetched and their number, if that is known
    :param opened: called with the dump before its names and types are looked for: it can be
        asked for its log then, and what its headers say
    :raises UsageError: the live kernel was named
    :raises TargetError: the dump cannot be opened
    :raises SymbolsError: debug info was demanded and is missing or of another build,
        or it was to be downloaded and no server has it
    """
    started = time.monotonic()
    target = identify(path)
    if target.format == "text":
        return Crash.from_text(target)
    prog = open_program(target)
    if opened is not None:
        opened(Crash(target, prog, Attached()))
    directories = _directories(debug_directory)
    files = [Path(file) for file in symbols]
    wanted = download and types != "btf"
    fetched = _downloaded(target, files, directories, progress) if wanted else []
    try:
        attached = attach(
            prog,
            Wanted(
                types=types,
                files=(*files, *fetched),
                directories=directories,
                release=target.release,
                build_id=target.build_id,
            ),
        )
    except SymbolsError:
        for file in fetched:  # another build's, or no debug info: it is to be asked for again
            file.unlink(missing_ok=True)
        raise
    crash = Crash(target, prog, attached)
    crash.timing["open"] = time.monotonic() - started
    return crash


def open_without_names(path: str | Path, why: str) -> Crash:
    """Open a vmcore and look for no names and types: for its log and its headers.

    :param why: the sentence that the crash's ``warnings`` give for it
    :raises TargetError: the dump cannot be opened
    """
    target = identify(path)
    if target.format == "text":
        return Crash.from_text(target)
    missing = [DebugFile(module="vmlinux", status="missing")]
    return Crash(target, open_program(target), Attached(files=missing, problems=[why]))


def _downloaded(
    target: Target,
    named: Sequence[Path],
    directories: Sequence[Path],
    progress: Progress | None,
) -> list[Path]:
    # Nothing is fetched that is here already.
    here = vmlinux_candidates(target.release, target.build_id, directories)
    if named or any(True for _path in here):
        return []
    if target.build_id is None:
        raise SymbolsError(
            "the dump does not say its kernel's build id, so its debug info cannot be asked for:"
            " name the vmlinux with -s"
        )
    # Imported here: the network's modules cost 40 ms, and few ask for them.
    from crashkit.symbols import where
    from crashkit.symbols.download import fetch

    offer = where.offer(target.release, target.version, target.build_id)
    return [fetch(target.build_id, offer.urls, progress)]


def _directories(given: str | Path | Sequence[str | Path] | None) -> tuple[Path, ...]:
    if given is None:
        return ()
    if isinstance(given, (str, Path)):
        return (Path(given),)
    return tuple(Path(directory) for directory in given)
