"""Code that the kernel gives up after boot: its memory then holds something else."""

from __future__ import annotations

from drgn import FaultError, Program

from crashkit.symbols.lookup import find_symbol

_CACHE_KEY = "crashkit.init_text"
_NOWHERE = (0, 0)


def is_given_up(prog: Program, address: int) -> bool:
    """Whether ``address`` lies in the core kernel's init text, and that has been freed.

    A module's init text is not among its ranges once it is freed.
    """
    found: tuple[int, int] | None = prog.cache.get(_CACHE_KEY)
    if found is None:
        found = prog.cache[_CACHE_KEY] = _freed(prog)
    return found[0] <= address < found[1]


def _freed(prog: Program) -> tuple[int, int]:
    start, end = find_symbol(prog, "_sinittext"), find_symbol(prog, "_einittext")
    if start is None or end is None or not _is_freed(prog):
        return _NOWHERE
    return start.address, end.address


def _is_freed(prog: Program) -> bool:
    # kernel_init(), init/main.c: free_initmem() is called in SYSTEM_FREEING_INITMEM, where
    # enum system_states has it, else just before SYSTEM_RUNNING. Not known: taken for freed.
    try:
        state = prog["system_state"]
        values = {each.name: each.value for each in state.type_.enumerators or ()}
        first = values.get("SYSTEM_FREEING_INITMEM", values["SYSTEM_RUNNING"])
        return bool(int(state) >= first)
    except (FaultError, LookupError):
        return True
