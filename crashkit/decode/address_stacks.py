"""Stacks that an address can lie on, and the guard pages below them."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Object, ObjectNotFoundError, Program, container_of, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mm import find_vmap_area
from drgn.helpers.linux.percpu import per_cpu

from crashkit.decode.fields import has_member
from crashkit.errors import Unavailable
from crashkit.memory import bounded
from crashkit.symbols import find_symbol
from crashkit.value import facts

MAX_CPUS = 8192
PAGE = 4096
_DEEPEST = 128  # levels of a balanced tree; a damaged one can be a ring
_CACHE_KEY = "crashkit.cpu_stacks"


@facts
class CpuStack:
    """A stack of a CPU, or a guard page of one."""

    start: int
    end: int
    cpu: int
    name: str
    """``IRQ``, ``NMI``, ``DF`` …"""
    guard: bool = False


@facts
class VmArea:
    """An area of vmalloc addresses."""

    start: int
    end: int
    """Guard page included."""
    mapped_end: int | None
    """Where its pages end; None: it does not say, e.g. a device's memory."""
    caller: int | None
    """Address of the instruction that asked for it."""

    def is_guard(self, address: int) -> bool:
        """Whether an address is past the area's pages."""
        return self.mapped_end is not None and address >= self.mapped_end


def vm_area_at(prog: Program, address: int) -> VmArea | None:
    """Find the area that holds a vmalloc address; None: there is none.

    :raises FaultError, LookupError: as drgn's helper, where it cannot be looked up
    """
    area = find_vmap_area(prog, address)
    if not area:
        return None
    start, end = int(area.va_start.value_()), int(area.va_end.value_())
    vm = area.vm.read_()
    if not vm:
        return VmArea(start=start, end=end, mapped_end=None, caller=None)
    pages = int(vm.nr_pages.value_())
    caller = int(vm.caller.value_()) or None
    # Without pages of its own it maps something else.
    mapped_end = start + pages * PAGE if 0 < pages * PAGE < end - start else None
    return VmArea(start=start, end=end, mapped_end=mapped_end, caller=caller)


def freed_area_at(prog: Program, address: int) -> tuple[int, int] | None:
    """Find the vmalloc area that held an address and was freed, but not yet given back.

    The kernel keeps freed areas until it flushes TLBs for many at once
    (__purge_vmap_area_lazy() in mm/vmalloc.c).

    :returns: start and end; None: none held it, or the kernel does not have such a tree
    """
    for root in _freed_roots(prog):
        node = root.rb_node
        for _ in range(_DEEPEST):
            if not node:
                break
            area = container_of(node, "struct vmap_area", "rb_node")
            start, end = int(area.va_start.value_()), int(area.va_end.value_())
            if start <= address < end:
                return start, end
            node = node.rb_left if address < start else node.rb_right
    return None


def _freed_roots(prog: Program) -> Iterator[Object]:
    # One tree until Linux kernel commit 282631cb2447 ("mm: vmalloc: remove global
    # purge_vmap_area_root rb-tree") (in v6.9), then one for each node.
    symbol = find_symbol(prog, "purge_vmap_area_root")
    if symbol is not None:
        yield Object(prog, "struct rb_root", address=symbol.address).address_of_()
        return
    nodes, count = prog["vmap_nodes"].read_(), int(prog["nr_vmap_nodes"].value_())
    for index in bounded(range(count), MAX_CPUS, "vmap nodes"):
        yield nodes[index].lazy.root.address_of_()


def cpu_stack_at(prog: Program, address: int) -> CpuStack | None:
    """Find the CPU's own stack, or its guard page, that holds an address."""
    found = (stack for stack in cpu_stacks(prog) if stack.start <= address < stack.end)
    return next(found, None)


def cpu_stacks(prog: Program) -> tuple[CpuStack, ...]:
    """List interrupt and exception stacks of all CPUs; what cannot be read is left out."""
    cached: tuple[CpuStack, ...] | None = prog.cache.get(_CACHE_KEY)
    if cached is None:
        found: list[CpuStack] = []
        for read in (_irq_stacks, _exception_stacks):
            try:
                found += read(prog)
            except (FaultError, LookupError, AttributeError, Unavailable):
                continue
        cached = prog.cache[_CACHE_KEY] = tuple(found)
    return cached


def _cpus(prog: Program) -> list[int]:
    return list(bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))


def _irq_stacks(prog: Program) -> list[CpuStack]:
    size = sizeof(prog.type("struct irq_stack"))
    found = []
    for cpu in _cpus(prog):
        # A member of pcpu_hot from Linux kernel commit d7b6d709a76a ("x86/percpu: Move
        # irq_stack variables next to current_task") (in v6.2) until v6.14.
        try:
            top = int(per_cpu(prog["hardirq_stack_ptr"], cpu))
        except ObjectNotFoundError:
            top = int(per_cpu(prog["pcpu_hot"], cpu).hardirq_stack_ptr)
        # The pointer is to the last word, 8 bytes below the end.
        end = (top + PAGE - 1) & ~(PAGE - 1)
        if end > size:
            found.append(CpuStack(start=end - size, end=end, cpu=cpu, name="IRQ"))
    return found


def _exception_stacks(prog: Program) -> list[CpuStack]:
    found: list[CpuStack] = []
    for cpu in _cpus(prog):
        stacks = per_cpu(prog["cea_exception_stacks"], cpu)
        found += _members(stacks, cpu)
    return found


def _members(stacks: Object, cpu: int) -> list[CpuStack]:
    base = int(stacks)
    found = []
    for member in stacks.type_.type.members or ():
        name, _, what = (member.name or "").rpartition("_stack")
        if not base or not name or what not in ("", "_guard"):
            continue
        start = base + member.bit_offset // 8
        size = sizeof(member.type)
        if size:
            found.append(
                CpuStack(start=start, end=start + size, cpu=cpu, name=name, guard=bool(what))
            )
    return found


def stack_size(prog: Program) -> int | None:
    """Give THREAD_SIZE; None where no type says it."""
    try:
        return int(prog["THREAD_SIZE"].value_())
    except (LookupError, FaultError):
        return None


def has_mapped_stacks(prog: Program) -> bool:
    """Whether tasks' stacks are vmalloc areas with guard pages (CONFIG_VMAP_STACK)."""
    try:
        return has_member(Object(prog, "struct task_struct *", 0), "stack_vm_area")
    except (LookupError, Unavailable):
        return False
