"""Per-CPU variables by address."""

from __future__ import annotations

from drgn import FaultError, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu

from crashkit.errors import Unavailable
from crashkit.memory import U64_MAX, bounded
from crashkit.symbols import per_cpu_symbol_at
from crashkit.value import facts

_MAX_CPUS = 8192
_CACHE_KEY = "crashkit.percpu"


@facts
class PerCpuAddress:
    """A byte of a static per-CPU variable of the core kernel."""

    cpu: int
    name: str | None
    """None: no symbol is there."""
    offset: int | None
    """Bytes into the variable."""

    @property
    def words(self) -> str:
        """E.g. ``per-CPU runqueues+0x10 of CPU 1``."""
        if self.name is None:
            return f"per-CPU data of CPU {self.cpu}"
        offset = f"+{self.offset:#x}" if self.offset else ""
        return f"per-CPU {self.name}{offset} of CPU {self.cpu}"


def percpu_at(prog: Program, address: int) -> PerCpuAddress | None:
    """Find the static per-CPU variable that holds an address.

    The address minus a CPU's offset lies in the template. Memory that was allocated per CPU
    (``alloc_percpu()``) is not found.
    """
    try:
        start, end, offsets = _template(prog)
    except (FaultError, LookupError, Unavailable):
        return None
    for cpu, offset in offsets:
        place = (address - offset) & U64_MAX
        if start <= place < end:
            return _named(prog, cpu, place)
    return None


def _template(prog: Program) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    cached: tuple[int, int, tuple[tuple[int, int], ...]] | None = prog.cache.get(_CACHE_KEY)
    if cached is None:
        start, end = (prog.symbol(f"__per_cpu_{edge}").address for edge in ("start", "end"))
        offsets = prog["__per_cpu_offset"]
        cpus = bounded(for_each_possible_cpu(prog), _MAX_CPUS, "possible CPUs")
        found = tuple((cpu, int(offsets[cpu].value_())) for cpu in cpus)
        cached = prog.cache[_CACHE_KEY] = (start, end, found)
    return cached


def _named(prog: Program, cpu: int, place: int) -> PerCpuAddress:
    symbol = per_cpu_symbol_at(prog, place)
    if symbol is None:
        return PerCpuAddress(cpu=cpu, name=None, offset=None)
    return PerCpuAddress(cpu=cpu, name=symbol.name, offset=place - symbol.address)
