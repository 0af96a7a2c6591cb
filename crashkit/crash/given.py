"""What is known of a fault besides its frame: by the CPU, the kernel and the dump."""

from __future__ import annotations

from drgn import FaultError, Program

from crashkit.errors import Unavailable
from crashkit.oops import Oops
from crashkit.target import Target
from crashkit.unwind import Frame

_PAGE_FAULTS = (None, "asm_exc_page_fault", "page_fault", "async_page_fault")


def reported_address(frame: Frame, oops: Oops | None) -> int | None:
    """Give the address that the kernel printed for this fault (CR2).

    A general protection fault sets no CR2; what is there is another fault's.

    :param frame: the faulting one
    """
    if oops is None or frame.exception not in _PAGE_FAULTS:
        return None
    return None if oops.kind == "general-protection" else oops.fault_address


def segment_bases(prog: Program, cpu: int | None) -> dict[str, int]:
    """Give the base of gs on a CPU: its per-CPU memory. Nothing where it is not known."""
    if cpu is None:
        return {}
    try:
        return {"gs": int(prog["__per_cpu_offset"][cpu])}
    except (FaultError, LookupError):
        return {}  # a per-CPU operand's address is then not known, and said so


def five_level_paging(target: Target) -> bool | None:
    """Whether the kernel ran with five levels of page tables; None where VMCOREINFO lacks it."""
    try:
        return bool(target.vmcoreinfo.number("pgtable_l5_enabled"))
    except Unavailable:
        return None
