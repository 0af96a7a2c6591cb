"""Fetching a debug file from debuginfod, when a person asked for it."""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from crashkit._version import __version__
from crashkit.errors import SymbolsError

_CHUNK = 1 << 20
_MOST_BYTES = 4 << 30
_TIMEOUT = 90.0
_ELF = b"\x7fELF"
Progress = Callable[[int, int | None], None]
"""Called with the bytes that have come and those that will, if the server said."""


def cache_folder() -> Path:
    """The folder of elfutils' debuginfod client: what either fetched, both find."""
    if given := os.environ.get("DEBUGINFOD_CACHE_PATH"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "debuginfod_client"


def cached(build_id: str) -> Path | None:
    """The debug file of a build ID if it was fetched before."""
    path = cache_folder() / build_id / "debuginfo"
    return path if path.is_file() and path.stat().st_size else None


def fetch(build_id: str, urls: Sequence[str], progress: Progress | None = None) -> Path:
    """Fetch a debug file from the first server that has it.

    Whether it is of this build is checked when it is attached, as for any file.

    :param build_id: lower-case hex
    :returns: its place in the cache
    :raises SymbolsError: no server has it, or it cannot be fetched or written; says of each
    """
    if found := cached(build_id):
        return found
    failures = []
    for url in urls:
        try:
            return _fetch(url, build_id, progress)
        except urllib.error.HTTPError as error:
            failures.append(f"{url}: {error.code} {error.reason}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
    said = "; ".join(failures) or "there is no server to ask: set DEBUGINFOD_URLS"
    raise SymbolsError(f"the debug info of build id {build_id} could not be fetched: {said}")


def _fetch(url: str, build_id: str, progress: Progress | None) -> Path:
    request = urllib.request.Request(  # noqa: S310 - http or https: where.servers()
        url, headers={"User-Agent": f"crashkit/{__version__}"}
    )
    folder = cache_folder() / build_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
        length = answer.headers.get("Content-Length") or answer.headers.get("X-DEBUGINFOD-SIZE")
        total = int(length) if length and length.isdecimal() else None
        handle, name = tempfile.mkstemp(dir=folder, prefix="debuginfo.")
        try:
            with os.fdopen(handle, "wb") as file:
                _copy(answer, file, total, progress)
            path = folder / "debuginfo"
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    return path


def _copy(answer: IO[bytes], file: IO[bytes], total: int | None, progress: Progress | None) -> None:
    done = 0
    while piece := answer.read(_CHUNK):
        if done == 0 and not piece.startswith(_ELF):
            raise ValueError("the answer is no ELF file")
        done += len(piece)
        if done > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        file.write(piece)
        if progress is not None:
            progress(done, total)
    if done == 0 or (total is not None and done < total):
        raise ValueError(f"only {done} bytes of {total or 'it'} came")
