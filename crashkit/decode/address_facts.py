"""What can be said of an address, and how each kind of it is put into words."""

from __future__ import annotations

from drgn import Object, Program

from crashkit.decode.address_stacks import cpu_stack_at, vm_area_at
from crashkit.decode.fields import printable
from crashkit.decode.slab import SlabIdentity
from crashkit.symbols import find_symbol, module_at, symbol_at
from crashkit.value import facts

_SECTIONS = (
    ("text", "_stext", "_etext"),
    ("rodata", "__start_rodata", "__end_rodata"),
    ("data", "_sdata", "_edata"),
    ("bss", "__bss_start", "__bss_stop"),
)


@facts
class AddressFacts:
    """What an address is. A field that does not apply to its kind is None."""

    address: int
    kind: str
    """``symbol``, ``module`` (memory of a loaded module), ``slab``, ``task`` (a ``struct
    task_struct``), ``stack`` (of a task), ``stack-guard``, ``cpu-stack``, ``per-cpu``,
    ``vmalloc``, ``vmalloc-guard``, ``struct-page``, ``page`` (of the direct map, not slab),
    ``module-hole`` (the modules' area, in no module), ``vmalloc-hole``, ``kernel-image``,
    ``cpu-entry-area``, ``espfix``, ``efi``, ``fixmap``, ``user``, ``non-canonical`` or
    ``hole``."""
    words: str
    """The same for a person; text from memory is escaped."""
    start: int | None = None
    """Where the thing begins."""
    offset: int | None = None
    """Bytes from ``start`` to the address."""
    name: str | None = None
    """Of the symbol, slab cache, module, task (comm) or CPU stack; of a vmalloc area the
    symbol that asked for it."""
    section: str | None = None
    """Of a core kernel symbol: ``text``, ``rodata``, ``data`` or ``bss``."""
    cpu: int | None = None
    pid: int | None = None
    pfn: int | None = None
    use: str | None = None
    """Of a page: ``free``, ``anonymous``, ``page cache``."""
    slab: SlabIdentity | None = None


def _at(name: str, offset: int) -> str:
    return f"{name}+{offset:#x}" if offset else name


def symbol_facts(prog: Program, address: int, name: str, start: int) -> AddressFacts:
    """Facts of a byte of a symbol."""
    module = module_at(prog, address)
    section = None
    if module is None:
        section = next((key for key, low, high in sections(prog) if low <= address < high), None)
    return AddressFacts(
        address=address,
        kind="module" if module else "symbol",
        words=_at(name, address - start),
        start=start,
        offset=address - start,
        name=name,
        section=section,
    )


def sections(prog: Program) -> tuple[tuple[str, int, int], ...]:
    """List the core kernel's sections whose bounds have symbols: name, start, end."""
    cached: tuple[tuple[str, int, int], ...] | None = prog.cache.get("crashkit.sections")
    if cached is None:
        found = []
        for key, low, high in _SECTIONS:
            start, end = find_symbol(prog, low), find_symbol(prog, high)
            if start is not None and end is not None:
                found.append((key, start.address, end.address))
        cached = prog.cache["crashkit.sections"] = tuple(found)
    return cached


def slab_facts(address: int, found: SlabIdentity) -> AddressFacts:
    """Facts of a byte of a slab object."""
    name = found.cache_name or "?"
    free = "free " if found.allocated is False else ""
    return AddressFacts(
        address=address,
        kind="slab",
        words=f"{free}slab object {_at(name, found.offset)}",
        start=found.object_start,
        offset=found.offset,
        name=name,
        slab=found,
    )


def task_facts(address: int, task: Object) -> AddressFacts:
    """Facts of a byte of a ``struct task_struct``."""
    pid, comm, start = task.pid.value_(), printable(task.comm.string_()), int(task.value_())
    return AddressFacts(
        address=address,
        kind="task",
        words=_at(f"task {pid} {comm}", address - start),
        start=start,
        offset=address - start,
        name=comm,
        pid=pid,
    )


def stack_facts(address: int, task: Object) -> AddressFacts:
    """Facts of a byte of a task's stack."""
    pid, comm, start = task.pid.value_(), printable(task.comm.string_()), int(task.stack.value_())
    return AddressFacts(
        address=address,
        kind="stack",
        words=f"stack of task {pid} ({comm})",
        start=start,
        offset=address - start,
        name=comm,
        pid=pid,
    )


def page_struct_facts(address: int, page: Object, pfn: int) -> AddressFacts:
    """Facts of a byte of a ``struct page``."""
    start = int(page.value_())
    return AddressFacts(
        address=address,
        kind="struct-page",
        words=_at(f"struct page of pfn {pfn:#x}", address - start),
        start=start,
        offset=address - start,
        pfn=pfn,
    )


def vmalloc_facts(prog: Program, address: int) -> AddressFacts | None:
    """Facts of an address that a vmalloc area holds; None: none does."""
    area = vm_area_at(prog, address)
    if area is None:
        return None
    module = module_at(prog, address)
    if module is not None:
        words = f"module {module.name}"
        return AddressFacts(address=address, kind="module", words=words, name=module.name)
    stack = cpu_stack_facts(prog, address)
    if stack is not None:
        return stack
    caller = symbol_at(prog, area.caller) if area.caller else None
    words = "vmalloc area" + (f" of {caller.name}" if caller else "")
    guard = area.is_guard(address)
    size = f" ({area.mapped_end - area.start} bytes)" if area.mapped_end is not None else ""
    return AddressFacts(
        address=address,
        kind="vmalloc-guard" if guard else "vmalloc",
        words=f"guard page right past the end of the {words}{size}" if guard else words,
        start=area.start,
        offset=address - area.start,
        name=caller.name if caller else None,
    )


def cpu_stack_facts(prog: Program, address: int) -> AddressFacts | None:
    """Facts of a byte of a CPU's own stack, or of its guard page; None: of none."""
    found = cpu_stack_at(prog, address)
    if found is None:
        return None
    whose = f"{found.name} stack of CPU {found.cpu}"
    return AddressFacts(
        address=address,
        kind="stack-guard" if found.guard else "cpu-stack",
        words=f"guard page of the {whose}" if found.guard else whose,
        start=found.start,
        offset=address - found.start,
        name=found.name,
        cpu=found.cpu,
    )
