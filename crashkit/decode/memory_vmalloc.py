"""Who took the memory of the vmalloc area."""

from __future__ import annotations

from drgn import Program
from drgn.helpers.linux.mm import for_each_vmap_area

from crashkit.decode.fields import naming
from crashkit.memory import bounded
from crashkit.symbols import symbol_at
from crashkit.value import facts

MAX_AREAS = 50_000


@facts
class VmallocCaller:
    """What one place in the kernel took, all its areas together."""

    caller: int
    """Address in the code that asked."""
    name: str | None
    """``function+0x… [module]``."""
    pages: int
    areas: int


def vmalloc_callers(prog: Program, most: int = 5) -> tuple[VmallocCaller, ...]:
    """Add up the areas of vmalloc by who asked for them, most pages first.

    :raises Unavailable: the list of areas cannot be followed, or is too long
    """
    pages: dict[int, int] = {}
    areas: dict[int, int] = {}
    with naming("vmalloc areas"):
        for area in bounded(for_each_vmap_area(prog), MAX_AREAS, "vmalloc areas"):
            vm = area.vm.read_()
            if not vm:
                continue
            count = int(vm.nr_pages.value_())
            if count:
                caller = int(vm.caller.value_())
                pages[caller] = pages.get(caller, 0) + count
                areas[caller] = areas.get(caller, 0) + 1
    largest = sorted(pages, key=lambda caller: (-pages[caller], caller))[:most]
    return tuple(
        VmallocCaller(
            caller=caller, name=_name(prog, caller), pages=pages[caller], areas=areas[caller]
        )
        for caller in largest
    )


def _name(prog: Program, address: int) -> str | None:
    found = symbol_at(prog, address)
    if found is None:
        return None
    module = f" [{found.module}]" if found.module else ""
    return f"{found.name}+{address - found.address:#x}{module}"
