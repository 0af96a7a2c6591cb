"""Bad pointers at which nothing is mapped, or not for this access."""

from __future__ import annotations

from crashkit.decode.address import classify_address
from crashkit.decode.address_facts import AddressFacts
from crashkit.decode.address_modules import last_unloaded_module, unloaded_tainting_modules
from crashkit.decode.address_walk import PageWalk, walk_page_tables
from crashkit.errors import Unavailable
from crashkit.fault.diagnosis_bits import one_bit_off
from crashkit.fault.diagnosis_case import Case
from crashkit.fault.model import Diagnosis
from crashkit.memory import is_kernel_address


def guard_page(case: Case) -> Diagnosis | None:
    """The access was to the page below a stack."""
    for address in _addresses(case):
        facts = classify_address(case.prog, address, aliases=False)
        if facts.kind == "stack-guard":
            case.details |= {"pid": facts.pid, "cpu": facts.cpu}
            case.says(_mapping(case, address))
            return _at(case, "stack-guard", facts)
    return None


def unloaded_module(case: Case) -> Diagnosis | None:
    """The address is where modules lie, and none lies there."""
    for address in _addresses(case):
        if classify_address(case.prog, address, aliases=False).kind == "module-hole":
            return _unloaded(case, address)
    return None


def _unloaded(case: Case, address: int) -> Diagnosis:
    last = last_unloaded_module(case.prog)
    tainting = unloaded_tainting_modules(case.prog)
    case.details["last_unloaded"] = last
    case.says(_mapping(case, address))
    if tainting:
        case.says(f"modules that tainted the kernel and were unloaded: {', '.join(tainting)}")
    if last or tainting:
        case.says("~ the memory was a module's that is gone: the kernel keeps no ranges of those")
    at = "" if address == case.bad.value else f"the access was at {address:#x}, "
    gone = f" (last unloaded: {last})" if last else ""
    return case.is_("unmapped-module", f"{at}in the modules' area, in no loaded module{gone}")


def one_bit(case: Case) -> Diagnosis | None:
    """The value is a good pointer but for one bit."""
    if is_kernel_address(case.bad.value) and _is_mapped(case):
        return None
    found = one_bit_off(case.prog, case.bad.value, place=case.place, ctype=case.ctype)
    if found is None:
        return None
    case.details |= {"bit": found.bit, "good": f"{found.good:#x}"}
    case.says("no other flip of one bit gives such a pointer")
    case.says("~ faulty memory, or a stray write of one bit")
    what = f"{found.good:#x} with bit {found.bit} changed; that is {found.words}"
    return case.is_("one-bit-off", what)


def _is_mapped(case: Case) -> bool:
    # The CPU's own word counts too: where it did not fault, there is something.
    if case.facts.kind == "non-canonical":
        return False
    return walk_page_tables(case.prog, case.bad.value).present


def why_refused(case: Case) -> Diagnosis | None:
    """Nothing special: what the address is, and what the page tables say of it."""
    address = case.bad.faulted_at
    if case.facts.kind == "non-canonical":
        return None
    if address is None:
        # Nothing names what was refused; an address that is nothing by itself is.
        if case.facts.kind in _SOUND:
            return None
        address = case.bad.value
    try:
        walk = _walk(case, address)
    except Unavailable as missing:
        case.says(f"why the CPU refused it is not known: {missing}")
        return None
    case.details["page"] = "mapped" if walk.present else "not mapped"
    why = walk.refuses(case.access)
    if why is None:
        case.says(f"{walk.statement()}: nothing that forbids the access now")
    if case.facts.kind == "user":
        case.says(why)
        return None  # the statement by value says the rest
    if address == case.bad.value or case.facts.kind not in _SOUND:
        return case.is_("other", case.facts.words + (f"; {why}" if why else ""))
    there = classify_address(case.prog, address, aliases=False)
    case.details["accessed"] = there.kind
    at = f"the access was at {address:#x}, {there.words}"
    return case.is_("other", f"{case.facts.words}; {at}" + (f"; {why}" if why else ""))


_SOUND = frozenset(
    {"symbol", "module", "slab", "task", "stack", "cpu-stack", "per-cpu", "vmalloc", "page"}
)


def _addresses(case: Case) -> tuple[int, ...]:
    # The value, and what the CPU could not access with it.
    at = case.bad.faulted_at
    return (case.bad.value,) if at is None or at == case.bad.value else (case.bad.value, at)


def _at(case: Case, kind: str, facts: AddressFacts) -> Diagnosis:
    if facts.address == case.bad.value:
        return case.is_(kind, facts.words)
    return case.is_(kind, f"the access was at {facts.address:#x}, the {facts.words}")


def _mapping(case: Case, address: int) -> str | None:
    try:
        return _walk(case, address).refuses(case.access)
    except Unavailable:
        return None  # only an addition to what is proved otherwise


def _walk(case: Case, address: int) -> PageWalk:
    pgd = None if is_kernel_address(address) else _user_tables(case)
    return walk_page_tables(case.prog, address, pgd=pgd)


def _user_tables(case: Case) -> int:
    # Kernel threads borrow another task's.
    thread = case.prog.crashed_thread()
    return int(thread.object.active_mm.pgd.value_())
