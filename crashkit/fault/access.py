"""Which of an instruction's memory accesses faulted, and by which register."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crashkit.disasm import Access, Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.fault.diagnosis import PAGE, is_noncanonical
from crashkit.memory import is_kernel_address
from crashkit.value import facts

_U64 = (1 << 64) - 1


@facts
class FaultingAccess:
    """The access that faulted."""

    access: Access
    address: int | None
    """Effective address from the registers; None if one is not known."""
    bad_register: str | None
    """Register that made it bad; None for an absolute address."""

    @property
    def kind(self) -> str:
        """``read`` or ``write``; an instruction that does both asks for write access."""
        return "read" if self.access.kind == "read" else "write"


def effective_address(
    instruction: Instruction,
    access: Access,
    registers: Mapping[str, int],
    segment_bases: Mapping[str, int],
) -> int | None:
    """Compute where an access goes; None when a register or segment base is not known."""
    memory = access.memory
    address = instruction.absolute(memory)
    if address is None:
        address = memory.displacement
        for name, scale in ((memory.base, 1), (memory.index, memory.scale)):
            if name is None:
                continue
            if name not in registers:
                return None
            address += registers[name] * scale
    if memory.segment is not None:
        if memory.segment not in segment_bases:
            return None
        address += segment_bases[memory.segment]
    return address & _U64


def find_faulting_access(
    instruction: Instruction,
    registers: Mapping[str, int],
    segment_bases: Mapping[str, int],
    fault_address: int | None,
    is_unmapped: Callable[[int], bool] = lambda _: False,
) -> FaultingAccess:
    """Find the access that faulted.

    :param fault_address: what the CPU reported (CR2); None for a general protection fault
    :param is_unmapped: tells that no page is at a kernel address
    :raises Unavailable: ``not-applicable`` when the instruction accesses no memory,
        ``corrupted`` when none of its accesses goes to ``fault_address``, ``ambiguous``
        when several may have faulted
    """
    candidates = [
        (access, effective_address(instruction, access, registers, segment_bases))
        for access in instruction.accesses
        if access.kind != "address"
    ]
    what = "faulting access"
    if not candidates:
        raise Unavailable(what, Reason.NOT_APPLICABLE, f"{instruction.text} accesses no memory")
    if fault_address is None:
        access, address = _refused(candidates, what)
    else:
        access, address = _matching(candidates, fault_address, instruction)
    bad = _bad_register(access, registers, is_unmapped)
    return FaultingAccess(access=access, address=address, bad_register=bad)


def _matching(
    candidates: list[tuple[Access, int | None]], fault_address: int, instruction: Instruction
) -> tuple[Access, int | None]:
    for access, address in candidates:
        # An access across a page boundary faults at the second page's first byte.
        if address is not None and (fault_address - address) & _U64 < max(access.size, 1):
            return access, address
    unknown = [(access, address) for access, address in candidates if address is None]
    if unknown:
        return unknown[0]
    computed = ", ".join(f"{address:#x}" for _, address in candidates)
    raise Unavailable(
        "faulting access",
        Reason.CORRUPTED,
        f"the CPU reported {fault_address:#x}, but {instruction.text} accesses {computed}",
    )


def _refused(candidates: list[tuple[Access, int | None]], what: str) -> tuple[Access, int | None]:
    refused = [
        (access, address)
        for access, address in candidates
        if address is not None and is_noncanonical(address, five_level=None, no_address=True)
    ]
    if refused:
        return refused[0]
    if len(candidates) == 1:
        return candidates[0]
    raise Unavailable(what, Reason.AMBIGUOUS, "no access goes to a non-canonical address")


def _bad_register(
    access: Access, registers: Mapping[str, int], is_unmapped: Callable[[int], bool]
) -> str | None:
    memory = access.memory
    base, index = memory.base, memory.index
    if base == "rip":
        base = None
    if base is None or index is None:
        return base or index
    # Of two, the one that is no kernel address; a sound base blames its index.
    value = registers.get(base)
    if value is None or not is_kernel_address(value) or value > _U64 - PAGE:
        return base
    return base if is_unmapped(value) else index
