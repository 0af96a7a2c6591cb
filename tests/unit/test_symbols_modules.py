"""Where a module's code lies while it is still being loaded."""

from __future__ import annotations

import pytest

from crashkit.symbols.modules import _describe, _initial
from tests.unit.kernel_doubles import Kernel

CORE, INIT = 0xFFFF_FFFF_C039_9000, 0xFFFF_FFFF_C03A_0000
KNOWN = ((CORE, CORE + 0x6000),)


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel()
    made.struct("module_layout", 16, ("base", "void *", 0), ("size", "unsigned int", 8))
    made.struct("module", 64, ("init_layout", "struct module_layout", 16))
    made.struct("newer", 64, ("state", "int", 0))
    return made


@pytest.mark.parametrize(
    ("base", "size", "found"),
    [
        (INIT, 0x4000, ((INIT, INIT + 0x4000),)),
        (0, 0, ()),  # freed: it has loaded
        (INIT, 1 << 31, ()),  # no module's size
        (CORE + 0x1000, 0x1000, ()),  # inside what is known already
    ],
)
def test_code_that_is_freed_after_loading(
    kernel: Kernel, base: int, size: int, found: tuple[tuple[int, int], ...]
) -> None:
    module = kernel.allocate("struct module")
    kernel.set(module, {"init_layout.base": base, "init_layout.size": size})
    assert _initial(module, KNOWN) == found


def test_a_modules_ranges_have_the_code_that_is_freed_after_loading(kernel: Kernel) -> None:
    known = kernel.allocate("struct module")
    kernel.set(known, {"init_layout.base": INIT, "init_layout.size": 0x4000})
    module = kernel.prog.relocatable_module("late", CORE, create=True)
    module.address_ranges = KNOWN
    module.object = known
    described = _describe(module)
    assert described is not None
    assert described.ranges == (*KNOWN, (INIT, INIT + 0x4000))


def test_newer_kernels_have_no_such_layout(kernel: Kernel) -> None:
    assert _initial(kernel.allocate("struct newer"), KNOWN) == ()


def test_a_missing_page_takes_nothing_else_away(kernel: Kernel) -> None:
    module = kernel.allocate("struct module")
    kernel.drop(int(module))
    assert _initial(module, KNOWN) == ()
