"""Writing a report: to stdout or a file that was checked before the work began."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from crashkit.cli.paths import is_same, is_there
from crashkit.errors import UsageError

_BOLD, _RED, _GREEN, _YELLOW, _END = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
_VERDICTS = {"CONFIRMED": _GREEN, "REFUTED": _RED, "INCONCLUSIVE": _YELLOW}
_WORDS = re.compile(r"\b(?:CONFIRMED|REFUTED|INCONCLUSIVE)$|<-- trapping", re.MULTILINE)
_LABEL = re.compile(r"^[A-Z][A-Z ]{2,9}(?=[ ~:])", re.MULTILINE)


class Output:
    """Where a command's document goes.

    A file is opened for writing at once, so that a wrong name ends the command before any
    long work; it is emptied only when there is something to put in it.

    :raises UsageError: the file cannot be written, or is one of the inputs
    """

    def __init__(self, path: Path | None, inputs: Iterable[Path] = (), color: str = "auto") -> None:
        self._path = path
        self._color = color
        self._created = False
        self._file: TextIO | None = None
        if path is not None:
            self._file = self._open(path, inputs)

    def _open(self, path: Path, inputs: Iterable[Path]) -> TextIO:
        for given in inputs:
            if is_same(path, given):
                raise UsageError(f"{path} is the input itself; name another output file")
        try:
            self._created = not is_there(path)
            return path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}); name another file with -o"
            ) from error

    def write(self, text: str) -> None:
        """Write the whole document.

        :raises UsageError: the file cannot be written
        """
        if self._file is None or self._path is None:
            _to_stdout(self._coloured(text))
            return
        try:
            if self._path.is_file():  # a device or pipe has nothing to cut
                self._file.truncate(0)
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written ({error.strerror})") from error
        self._created = False

    def stream(self, pieces: Iterable[str]) -> bool:
        """Write a document piece by piece, as it is made.

        :returns: False when its reader went away before the end
        :raises UsageError: the file cannot be written
        """
        if self._file is None or self._path is None:
            return all(map(_to_stdout, pieces))
        try:
            if self._path.is_file():  # a device or pipe has nothing to cut
                self._file.truncate(0)
            for piece in pieces:
                self._file.write(piece)
                self._created = False
            self._file.flush()
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written ({error.strerror})") from error
        return True

    def close(self) -> None:
        """Close the file; remove it when it was made and nothing was written."""
        if self._file is None or self._path is None:
            return
        with suppress(OSError):
            self._file.close()
        if self._created:
            with suppress(OSError):
                self._path.unlink()

    def _coloured(self, text: str) -> str:
        wanted = self._color == "always" or (
            self._color == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        )
        if not wanted or text.startswith("{"):
            return text
        first, newline, rest = text.partition("\n")
        rest = _LABEL.sub(lambda found: f"{_BOLD}{found[0]}{_END}", rest)
        rest = _WORDS.sub(lambda found: f"{_VERDICTS.get(found[0], _BOLD)}{found[0]}{_END}", rest)
        return f"{_BOLD}{first}{_END}{newline}{rest}"


def _to_stdout(text: str) -> bool:
    # A reader that went away (`| head`) has what it wanted: False.
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _no_more_to_stdout()
        return False
    except OSError as error:
        _no_more_to_stdout()
        raise UsageError(f"standard output cannot be written ({error.strerror})") from error
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    return True


def _no_more_to_stdout() -> None:
    # What is still in its buffer is not to be tried again when the process ends.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(sentence: str) -> None:
    """Print a sentence to stderr, with crashkit's name before it."""
    with suppress(OSError):  # nobody is left to hear it, or the disk is full
        print(f"crashkit: {sentence}", file=sys.stderr, flush=True)
