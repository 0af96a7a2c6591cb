"""Objects on the way to a crash: which structure they are, where several have its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from drgn import Type

from crashkit.crash.panics import oddities
from crashkit.crash.panics.oddities import Met, met_objects, structure
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel

OBJECT = 0xFFFF_8880_0000_1000


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel()
    made.struct("port", 16, ("list", "void *", 0), ("id", "unsigned int", 8))
    return made


def met(module: str | None = None, member: str | None = None) -> Met:
    return Met(
        name="port", function="send", address=OBJECT, tag="port", certainty=Certainty.PROVED,
        identity=None, in_chain=True, module=module, member=member,
    )  # fmt: skip


def test_a_structure_without_the_member_that_was_used_is_another(kernel: Kernel) -> None:
    assert structure(kernel.prog, met(member="id")).type_.type.tag == "port"
    assert structure(kernel.prog, met()).value_() == OBJECT
    with pytest.raises(LookupError):
        structure(kernel.prog, met(member="ops"))


def test_a_modules_own_structure_comes_first(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.struct("orders_port", 8, ("ops", "void *", 0))
    theirs = kernel.prog.type("struct orders_port")
    own = kernel.prog.struct_type("port", 8, theirs.members)

    def structures(_prog: object, module: str) -> tuple[Type, ...]:
        return (own,) if module == "orders" else ()

    monkeypatch.setattr(oddities, "module_structures", structures)
    assert structure(kernel.prog, met("orders", "ops")).type_.type.has_member("ops")
    assert structure(kernel.prog, met("other", "list")).type_.type.has_member("list")


def link(expression: str, value: int) -> Any:
    return SimpleNamespace(
        expression=expression, ctype="struct port *", value=value, certainty=Certainty.PROVED,
        identity=None, origin=Origin.REGISTER,
    )  # fmt: skip


def test_the_expression_says_which_member_a_structure_has(kernel: Kernel) -> None:
    chain = [link("port", OBJECT), link("port->peer", OBJECT + 0x1000)]
    fault = SimpleNamespace(
        chain=chain, expression="port->peer->queue.depth", symbol="send", module="orders"
    )
    crash: Any = SimpleNamespace(prog=kernel.prog, fault=fault, outer_frames=())
    found = [(one.name, one.member, one.module) for one in met_objects(crash)]
    assert found == [("port", "peer", "orders"), ("port->peer", "queue", "orders")]
    fault.chain = []
    assert met_objects(crash) == ()
