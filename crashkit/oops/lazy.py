"""Regular expressions that are compiled at their first use: of the many a log needs few."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_METHODS = ("finditer", "fullmatch", "match", "search", "split", "sub")


class LazyPattern:
    """A regular expression; its methods are those of :class:`re.Pattern`."""

    __slots__ = ("_flags", "_text", *_METHODS)

    finditer: Callable[..., Iterator[re.Match[str]]]
    fullmatch: Callable[..., re.Match[str] | None]
    match: Callable[..., re.Match[str] | None]
    search: Callable[..., re.Match[str] | None]
    split: Callable[..., list[str]]
    sub: Callable[..., str]

    def __init__(self, text: str, flags: int = 0) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> object:
        # Reached only while the slots are empty; the methods are then bound once.
        if name not in _METHODS:
            raise AttributeError(name)
        compiled = re.compile(self._text, self._flags)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
