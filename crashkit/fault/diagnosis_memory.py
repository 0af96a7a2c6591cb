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
from crashkit.fault.model import Diagnosis, Link
from crashkit.memory import BROKEN_WALK

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


def diagnose_in_memory(
    prog: Program,
    found: Diagnosis,
    bad: BadValue,
    *,
    access: str | None,
    chain: tuple[Link, ...],
) -> Diagnosis:
    """Add to a diagnosis by value what the dump's memory says.

    :param found: what :func:`crashkit.fault.diagnosis.diagnose` said
    :param access: ``read``, ``write`` or ``exec``
    :param chain: the values on the way to the bad one, which is last
    :returns: ``found`` with evidence, or a diagnosis that memory gives in its stead
    """
    case = Case(prog=prog, bad=bad, kind=found.kind, access=access, chain=chain)
    _say_offset(case)
    best = found
    if found.kind in _UNEXPLAINED:
        told = (_ask(case, test) for test in _TESTS)
        best = next((answer for answer in told if answer is not None), found)
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


def _say_origin(case: Case) -> None:
    for link in case.chain:
        if (link.identity or "").startswith("free slab object") and link.value != case.bad.value:
            case.says(f"{link.expression} points into a {link.identity}")
    if case.place is not None:
        case.details["read_from"] = f"{case.place:#x}"
        sentences, free = place_words(case.prog, case.place)
        case.says(*sentences)
        if free is not None:
            case.details.setdefault("free_list", free.kind)
