"""Reading members: reasons for what is missing, layouts asked by member."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object

from crashkit.decode.fields import (
    Fields,
    counter,
    has_member,
    member,
    names_of,
    naming,
    net_pointer,
    pointer,
    printable,
    text_at,
)
from crashkit.errors import Reason, Unavailable
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel


def test_counter_reads_every_wrapper_signed() -> None:
    for kernel in (modern_kernel(), el7_kernel()):
        ct = kernel.allocate("struct nf_conn")
        kernel.set(ct, {"ct_general.use": (0xC000_0000).to_bytes(4, "little")})
        assert counter(ct.ct_general.use) == 0xC000_0000 - (1 << 32)


def test_net_pointer_reads_both_types() -> None:
    modern, el7 = modern_kernel(), el7_kernel()
    new = modern.allocate("struct nf_conn", **{"ct_net.net": 0xFFFF888000001000})
    old = el7.allocate("struct nf_conn", ct_net=0xFFFF888000002000)
    assert net_pointer(new.ct_net) == 0xFFFF888000001000
    assert net_pointer(old.ct_net) == 0xFFFF888000002000


def test_net_pointer_without_namespaces_is_not_applicable() -> None:
    kernel = modern_kernel()
    kernel.struct("possible_net", 0)
    kernel.typedef("possible_net_t", "struct possible_net")
    kernel.struct("holder", 8, ("ct_net", "possible_net_t", 0))
    with pytest.raises(Unavailable) as caught:
        net_pointer(kernel.allocate("struct holder").ct_net)
    assert caught.value.reason is Reason.NOT_APPLICABLE


@pytest.mark.parametrize("address", [0, 0x20, 0x6B6B6B6B6B6B6B6B, 0xDEAD000000000122])
def test_pointer_refuses_what_is_not_kernel_half(address: int) -> None:
    prog = modern_kernel().prog
    with pytest.raises(Unavailable) as caught:
        pointer(Object(prog, "struct sk_buff *", address), "skb")
    assert caught.value.reason is Reason.CORRUPTED


def test_has_member_of_a_type_only_declared_is_no_debuginfo() -> None:
    kernel = modern_kernel()
    kernel.declare("secret")
    with pytest.raises(Unavailable) as caught:
        has_member(Object(kernel.prog, "struct secret *", 0), "x")
    assert caught.value.reason is Reason.NO_DEBUGINFO


def test_member_takes_the_first_that_exists() -> None:
    skb = modern_kernel().allocate("struct sk_buff", _nfct=5)
    assert member(skb, "nfct", "_nfct").value_() == 5
    with pytest.raises(Unavailable) as caught:
        member(skb, "nfct", "nf_bridge")
    assert caught.value.reason is Reason.NOT_APPLICABLE


def test_naming_maps_each_error_of_drgn() -> None:
    kernel = modern_kernel()
    skb = Object(kernel.prog, "struct sk_buff *", 0xFFFF_9000_0000_0000)
    cases: tuple[tuple[Callable[[], object], Reason], ...] = (
        (lambda: skb.len.value_(), Reason.NOT_IN_DUMP),
        (lambda: kernel.prog["jiffies"], Reason.NO_DEBUGINFO),
        (lambda: kernel.prog.type("struct nothing"), Reason.NO_DEBUGINFO),
        (lambda: skb.member_("nothing"), Reason.NO_DEBUGINFO),
        (lambda: skb.nothing, Reason.NO_DEBUGINFO),
    )
    for read, reason in cases:
        with pytest.raises(Unavailable) as caught, naming("x"):
            read()
        assert caught.value.reason is reason


def test_naming_does_not_hide_a_bug() -> None:
    int_by_name: dict[str, int] = {}
    with pytest.raises(KeyError), naming("x"):
        int_by_name["missing"]


def test_fields_raise_when_nothing_could_be_read() -> None:
    fields = Fields("struct x")
    assert fields.take("a", lambda: pointer(Object(modern_kernel().prog, "void *", 1), "a")) is None
    with pytest.raises(Unavailable) as caught:
        fields.reasons()
    assert caught.value.what == "struct x"


def test_names_of_names_unknown_bits_by_number() -> None:
    assert names_of(0b10_0001, {0: "UP"}) == ("UP", "bit 5")
    assert names_of(0, {0: "UP"}) == ()


def test_text_is_escaped_and_bounded() -> None:
    kernel = modern_kernel()
    kernel.put(0xFFFF_8880_0000_1000, b"\x1b[31m" + b"A" * 4000)
    text = text_at(kernel.prog, 0xFFFF_8880_0000_1000, limit=10)
    assert text == "\\x1b[31mAAAAA"
    assert printable(b"a\\b\n") == "a\\\\b\\n"
