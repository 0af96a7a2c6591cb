"""What a kernel address is: which object, stack, symbol or part of the address space.

For scripts::

    facts = crashkit.decode.classify_address(crash.prog, 0xffff8d1b094fa538)
    facts.kind, facts.words        # 'slab', 'slab object nf_conntrack+0x38'
    facts.slab.allocated           # True, False, or None with a reason in slab.absent

What a value that points nowhere looks like is said too: ``modules`` without a module, a guard
page, a hole, an address that is not canonical. ``mapped`` of such a kind is False only where
the kind says so; :func:`crashkit.decode.walk_page_tables` asks the page tables.
"""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers import ValidationError
from drgn.helpers.common.memory import IdentifiedAddress, IdentifiedSymbol, identify_address_all
from drgn.helpers.linux.common import (
    IdentifiedPage,
    IdentifiedSlabObject,
    IdentifiedTaskStack,
    IdentifiedTaskStruct,
    IdentifiedVmap,
)

from crashkit.decode.address_facts import (
    AddressFacts,
    cpu_stack_facts,
    page_struct_facts,
    slab_facts,
    stack_facts,
    symbol_facts,
    task_facts,
    vmalloc_facts,
)
from crashkit.decode.address_pages import page_use
from crashkit.decode.address_percpu import percpu_at
from crashkit.decode.address_regions import is_canonical, region_at, unnamed_errors
from crashkit.decode.address_stacks import PAGE, has_mapped_stacks, vm_area_at
from crashkit.decode.slab import identity_of, slab_identity
from crashkit.errors import Unavailable
from crashkit.memory import BROKEN_WALK, is_kernel_address
from crashkit.symbols import in_kernel_text, symbol_at

_PLAIN_FAILURES = (*BROKEN_WALK, AttributeError, ValidationError, NotImplementedError)
# what drgn's identification raises on missing pages, names, members, damaged slabs


def classify_address(prog: Program, address: int, *, aliases: bool = True) -> AddressFacts:
    """Say what an address is, as exactly as the dump tells.

    Costs 0.5 ms once the dump's lists were read; the first stack costs a walk over all tasks.

    :param address: unsigned 64 bit
    :param aliases: look for the names of merged slab caches (a walk over sysfs, once)
    :returns: facts; where the structures that would tell are missing or damaged, those of
        the part of the address space
    """
    if not is_canonical(prog, address):
        return AddressFacts(address=address, kind="non-canonical", words="no address at all")
    if not is_kernel_address(address):
        return AddressFacts(address=address, kind="user", words="user-space address")
    try:
        with unnamed_errors(f"{address:#x}"):
            identified = next(iter(identify_address_all(prog, address, cache=_cache(prog))), None)
        facts = None if identified is None else _identified(prog, identified, aliases)
    except (*_PLAIN_FAILURES, Unavailable):
        facts = _symbol_alone(prog, address) or _slab_alone(prog, address, aliases)
    if facts is not None and facts.kind == "vmalloc-guard":
        return _overflown_stack(prog, facts) or facts
    return facts or _per_cpu(prog, address) or _by_region(prog, address)


def _cache(prog: Program) -> dict[object, object]:
    cache: dict[object, object] = prog.cache.setdefault("crashkit.identify", {})
    return cache


def _identified(prog: Program, found: IdentifiedAddress, aliases: bool) -> AddressFacts | None:
    if isinstance(found, IdentifiedSymbol):
        return symbol_facts(prog, found.address, found.symbol.name, found.symbol.address)
    if isinstance(found, IdentifiedSlabObject):
        info = found.slab_object_info
        return slab_facts(found.address, identity_of(prog, found.address, info, aliases=aliases))
    if isinstance(found, IdentifiedTaskStruct):
        return task_facts(found.address, found.task)
    if isinstance(found, IdentifiedTaskStack):
        return stack_facts(found.address, found.task)
    if isinstance(found, IdentifiedPage):
        return page_struct_facts(found.address, found.page, found.pfn)
    return vmalloc_facts(prog, found.address) if isinstance(found, IdentifiedVmap) else None


def _symbol_alone(prog: Program, address: int) -> AddressFacts | None:
    found = symbol_at(prog, address) if in_kernel_text(prog, address) else None
    return None if found is None else symbol_facts(prog, address, found.name, found.address)


def _slab_alone(prog: Program, address: int, aliases: bool) -> AddressFacts | None:
    # drgn's identification ends at the first name or page it misses, tasks among them;
    # the slab object needs fewer.
    try:
        return slab_facts(address, slab_identity(prog, address, aliases=aliases))
    except Unavailable:
        return None


def _per_cpu(prog: Program, address: int) -> AddressFacts | None:
    found = percpu_at(prog, address)
    if found is None:
        return None
    return AddressFacts(
        address=address,
        kind="per-cpu",
        words=found.words,
        start=None if found.offset is None else address - found.offset,
        offset=found.offset,
        name=found.name,
        cpu=found.cpu,
    )


def _by_region(prog: Program, address: int) -> AddressFacts:
    region = region_at(prog, address)
    kind = region.kind if region else "hole"
    if kind == "direct-map":
        return _page(prog, address)
    if kind == "cpu-entry-area":
        found = cpu_stack_facts(prog, address)
        if found is not None:
            return found
    if kind in ("vmalloc", "hole", "modules"):
        guard = _below_stack(prog, address)
        if guard is not None:
            return guard
    kind, words = _PARTS.get(kind, (kind, kind))
    return AddressFacts(
        address=address,
        kind=kind,
        words=words,
        start=region.start if region else None,
        offset=address - region.start if region else None,
    )


_PARTS = {
    "vmalloc": ("vmalloc-hole", "in no vmalloc area"),
    "modules": ("module-hole", "in the modules' area, in no module"),
    "vmemmap": ("hole", "past the last struct page"),
    "kernel-image": ("kernel-image", "kernel image, no symbol"),
    "cpu-entry-area": ("cpu-entry-area", "CPU entry area"),
    "hole": ("hole", "in no known part of the address space"),
}
"""What an address of a part is that nothing in it claims: kind and words."""


def _page(prog: Program, address: int) -> AddressFacts:
    try:
        found = page_use(prog, address)
    except Unavailable:
        return AddressFacts(address=address, kind="page", words="memory")
    words = {"free": "free page", "anonymous": "anonymous page", "page cache": "page cache"}
    return AddressFacts(
        address=address,
        kind="page",
        words=words.get(found.use or "", "memory") + f", pfn {found.pfn:#x}",
        start=address & ~(PAGE - 1),
        offset=address % PAGE,
        pfn=found.pfn,
        use=found.use,
    )


def _overflown_stack(prog: Program, guard: AddressFacts) -> AddressFacts | None:
    # The page after one area can be the one below a task's stack. It is the area's own, and
    # a buffer there is what is overrun, unless the stack is the crashed task's, or both are
    # stacks: these grow down.
    below = _below_stack(prog, guard.address)
    if below is None or below.start is None:
        return None
    if _crashed_stack(prog) == below.start + PAGE:
        return below
    return below if guard.start and _task_with_stack(prog, guard.start) is not None else None


def _crashed_stack(prog: Program) -> int | None:
    try:
        return int(prog.crashed_thread().object.stack.value_())
    except (*_PLAIN_FAILURES, ValueError):
        return None


def _below_stack(prog: Program, address: int) -> AddressFacts | None:
    # A task's stack grows down into the page below it, which is never mapped.
    above = (address | (PAGE - 1)) + 1
    task = _task_with_stack(prog, above) if has_mapped_stacks(prog) else None
    if task is None:
        return None
    facts = stack_facts(address, task)
    return AddressFacts(
        address=address,
        kind="stack-guard",
        words=f"guard page below the {facts.words}",
        start=above - PAGE,
        offset=address % PAGE,
        name=facts.name,
        pid=facts.pid,
    )


def _task_with_stack(prog: Program, start: int) -> Object | None:
    try:
        if vm_area_at(prog, start) is None:
            return None
        # In a vmalloc area, so nothing is asked of the direct map.
        for found in identify_address_all(prog, start, cache=_cache(prog)):
            if isinstance(found, IdentifiedTaskStack) and int(found.task.stack.value_()) == start:
                return found.task
    except _PLAIN_FAILURES:
        return None
    return None
