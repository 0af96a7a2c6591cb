"""What is done before the first import and after the last word, so that a run is short."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

_PACKAGE = "drgn.helpers.linux"


def prepare() -> None:
    """Set this process up for one short run.

    Not for a library: it changes what the whole process does.
    """
    # Opening a dump would load drgn's plugins: 80 ms, and a site's finders behind our back.
    os.environ.setdefault("DRGN_DISABLE_PLUGINS", "*")
    # One short run that keeps what it makes: collecting costs 4 % and frees next to nothing.
    gc.set_threshold(200_000, 20, 20)
    _import_helpers_one_by_one()


def open_streams() -> None:
    """Give the three standard streams that were closed a place, before a file takes their number.

    What is then written to a closed stdout fails, and is said so; what is written to a closed
    stderr is lost.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, "r", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def leave(code: int) -> NoReturn:
    """End this process at once with an exit code.

    Taking a dump's types and symbols apart object by object costs as much as decoding them:
    a tenth of a triage. The system takes the memory back either way.
    """
    atexit._run_exitfuncs()  # what was promised to run is run
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader went away, or it was said already
            stream.flush()
    os._exit(code)


def _import_helpers_one_by_one() -> None:
    # Importing any helper imports all sixty, 40 ms, because their package does. Ours names the
    # modules it needs; whoever asks the package for a name gets the package as it is.
    if _PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec("drgn.helpers")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(next(iter(spec.submodule_search_locations)), "linux")
    own = importlib.util.spec_from_file_location(
        _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if own is not None:
        package = sys.modules[_PACKAGE] = _Package(own)
        importlib.import_module("drgn.helpers").linux = package  # type: ignore[attr-defined]


class _Package(ModuleType):
    # drgn.helpers.linux, whose own code runs when it is first asked for a name.

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec
        self.__loader__ = spec.loader
        self.__package__ = spec.name
        self.__file__ = spec.origin
        self.__path__ = list(spec.submodule_search_locations or ())
        self._own = spec
        self._whole = False

    def __getattr__(self, name: str) -> object:
        private = name.startswith("__") and name != "__all__"
        loader = self._own.loader
        if private or self._whole or loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self._whole = True
        loader.exec_module(self)
        found: object = getattr(self, name)
        return found
