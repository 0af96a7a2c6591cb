"""A dump that leads no further: what it can still tell, told; and each rung as it is reached."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from crashkit.cli.inputs import open_crash
from crashkit.cli.options import Options
from crashkit.cli.output import complain
from crashkit.errors import CrashkitError, SymbolsError, TargetError
from crashkit.report.escape import safe

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.doctor import Rung

_WORDS = {"yes": "", "partly": "in part: ", "no": "not reached: "}
_WIDTH = 200


class Telling:
    """Says each rung of the ladder on stderr, once; on a terminal, or where asked (-v)."""

    def __init__(self, options: Options) -> None:
        wanted = options.verbose > 0 or sys.stderr.isatty()
        self._wanted = wanted and not options.quiet
        self._told: set[str] = set()

    @property
    def opened(self) -> Callable[[Crash], None] | None:
        """Called with a dump that has no names yet: tells what its log says."""
        return self._log if self._wanted else None

    def tell(self, rung: Rung) -> None:
        """Say one rung, unless it was said."""
        if not self._wanted or rung.what in self._told:
            return
        self._told.add(rung.what)
        words = safe(f"{_WORDS[rung.reached]}{rung.detail}", _WIDTH)
        complain(f"{rung.what}: {words}")

    def _log(self, crash: Crash) -> None:
        from crashkit.doctor import climb

        rung = next(climb(crash))
        if rung.reached == "yes":  # what types may still lead to is not given up here
            self.tell(rung)


@contextmanager
def open_or_what_is_left(
    path: Path, options: Options, symbols: list[Path] | None = None, telling: Telling | None = None
) -> Iterator[tuple[Crash, int]]:
    """Open a dump; where that fails, what can still be read of it.

    Without the names and types that were demanded it is the dump with none; of a dump that
    cannot be opened, the log that kdump saved beside it.

    :returns: the crash, and the exit code to end with, 0 for that of the crash itself
    """
    code = 0
    try:
        crash = open_crash(path, options, symbols, opened=telling.opened if telling else None)
    except SymbolsError as error:
        code, crash = error.exit_code, _without_names(path, error)
        complain(_one_line(error))
    except TargetError as error:
        code = error.exit_code
        beside = _log_beside(path)
        if beside is None:
            raise
        complain(_one_line(error))
        complain(f"going on with {safe(beside.name)}, the log that was saved beside it")
        crash = open_crash(beside, options)
    with crash:
        yield crash, code


def _one_line(error: CrashkitError) -> str:
    return safe(" ".join(str(error).split()))


def _without_names(path: Path, why: SymbolsError) -> Crash:
    from crashkit.crash.opening import open_without_names

    try:
        return open_without_names(path, str(why))
    except TargetError:
        raise why from None


def _log_beside(path: Path) -> Path | None:
    from crashkit.target import find_kdump_log
    from crashkit.target.places import find_in_directory

    with suppress(OSError, TargetError):  # several dumps: a person has to name one
        return find_kdump_log(find_in_directory(path) if path.is_dir() else path)
    return None
