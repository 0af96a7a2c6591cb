"""Type information that damage made impossible, and a number of CPUs that cannot be."""

from __future__ import annotations

import pytest
from drgn import Architecture, Platform, Program, TypeMember

from crashkit.crash.tasks import MAX_CPUS, present_cpus
from crashkit.errors import Reason, Unavailable
from crashkit.symbols.orc import layout_of
from tests.unit.lock_doubles import add_cpus, lock_kernel


def test_a_member_without_a_size_is_no_member_of_orc() -> None:
    prog = Program(Platform(Architecture.X86_64))
    function = prog.function_type(prog.void_type(), ())
    made = prog.struct_type("orc_entry", 6, (TypeMember(function, "sp_offset", 0),))
    with pytest.raises(Unavailable, match="other members") as raised:
        layout_of(made)
    assert raised.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("count", [0, MAX_CPUS + 1, 0xFFFF_FFFF])
def test_an_impossible_number_of_cpus_is_not_walked(count: int) -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 3)
    assert present_cpus(kernel.prog) == [0, 1, 2]
    place = kernel.prog["nr_cpu_ids"].address_
    assert place is not None
    kernel.put(place, count.to_bytes(4, "little"))
    with pytest.raises(Unavailable, match="nr_cpu_ids") as raised:
        present_cpus(kernel.prog)
    assert raised.value.reason is Reason.CORRUPTED
