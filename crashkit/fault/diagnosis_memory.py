"""What memory says about a bad pointer: freed, unmapped, one bit off, and why the CPU refused it.

The value's own tests are in :mod:`crashkit.fault.diagnosis`; here are those that need the dump.
What an evidence sentence states was read from the dump; one that begins with ``~`` is
inferred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from drgn import Program
from drgn.helpers import ValidationError

from crashkit.errors import Reason, Unavailable
from crashkit.fault.diagnosis import BadValue
from crashkit.fault.diagnosis_case import Case
from crashkit.fault.diagnosis_freed import (
    free_page,
    free_slab_object,
    freed_vmalloc_area,
    hidden_free_pointer,
    lost_free_list,
    read_from_free_object,
)
from crashkit.fault.diagnosis_slab import place_words
from crashkit.fault.diagnosis_unmapped import (
    guard_page,
    one_bit,
    unloaded_module,
    why_refused,
)
from crashkit.fault.diagnosis_xarray import SLOT, xarray_entry
from crashkit.fault.model import Diagnosis, Link, OriginStep
from crashkit.memory import BROKEN_WALK, is_kernel_address

_UNEXPLAINED = ("other", "non-canonical", "user-pointer", "ascii")
"""Kinds that memory may explain better. The others the value alone proves; to them, memory
only adds where the value came from."""
_TESTS: tuple[Callable[[Case], Diagnosis | None], ...] = (
    hidden_free_pointer,
    lost_free_list,
    free_slab_object,
    free_page,
    guard_page,
    unloaded_module,
    freed_vmalloc_area,
    one_bit,
    read_from_free_object,
    why_refused,
)
"""In this order; the first that answers is believed."""


_MAPPINGS = {
    1: "an anonymous page's anon_vma",
    2: "a movable page's operations",
    3: "a KSM page's node",
}
"""What the low bits of a page's ``mapping`` say that it is."""


def diagnose_in_memory(
    prog: Program,
    found: Diagnosis,
    bad: BadValue,
    *,
    access: str | None,
    chain: tuple[Link, ...],
    origins: tuple[OriginStep, ...] = (),
) -> Diagnosis:
    """Add to a diagnosis by value what the dump's memory says.

    :param found: what :func:`crashkit.fault.diagnosis.diagnose` said
    :param access: ``read``, ``write`` or ``exec``
    :param chain: the values on the way to the bad one, which is last
    :param origins: what callers passed
    :returns: ``found`` with evidence, or a diagnosis that memory gives in its stead
    """
    case = Case(prog=prog, bad=bad, kind=found.kind, access=access, chain=chain, origins=origins)
    entry = _ask(case, xarray_entry) if bad.value else None
    best = entry or found
    _say_offset(case)
    if entry is None and found.kind in _UNEXPLAINED:
        told = (_ask(case, test) for test in _TESTS)
        best = next((answer for answer in told if answer is not None), found)
    _ask(case, _say_mapping)
    _ask(case, _say_origin)
    return replace(
        best,
        evidence=(*best.evidence, *case.evidence),
        details={**best.details, **case.details},
    )


def _ask(case: Case, test: Callable[[Case], Diagnosis | None]) -> Diagnosis | None:
    try:
        return test(case)
    except Unavailable as missing:
        if missing.reason is Reason.CORRUPTED:
            case.says(f"damaged: {missing}")
    except (*BROKEN_WALK, AttributeError, NotImplementedError, ValidationError) as damage:
        # A helper of drgn's over a kernel whose types or memory are not all there.
        case.says(f"not all could be looked at: {type(damage).__name__}")
    return None


def _say_offset(case: Case) -> None:
    at = case.bad.faulted_at
    if case.bad.value == 0 and at is not None and 0 < at < 1 << 31:
        case.details["offset"] = at
        case.says(f"the access was {at:#x} bytes into it")


def _say_mapping(case: Case) -> None:
    # include/linux/page-flags.h: PAGE_MAPPING_FLAGS (FOLIO_MAPPING_FLAGS later).
    for link in case.chain:
        flags = (link.value or 0) & 3
        if flags and link.ctype == "struct address_space *" and is_kernel_address(link.value or 0):
            case.details["mapping_flags"] = flags
            case.says(f"{link.expression} has the flag {flags}: {_MAPPINGS[flags]}, no file's")


def _say_origin(case: Case) -> None:
    for link in case.chain:
        if (link.identity or "").startswith("free slab object") and link.value != case.bad.value:
            case.says(f"{link.expression} points into a {link.identity}")
    if case.place is not None:
        case.details["read_from"] = f"{case.place:#x}"
        sentences, free = place_words(case.prog, case.place)
        in_slot = any(line.startswith(SLOT) for line in case.evidence)
        case.says(*sentences[1 if in_slot else 0 :])
        if free is not None:
            case.details.setdefault("free_list", free.kind)
