"""Member paths from offsets and offsets from member paths."""

from __future__ import annotations

import pytest
from drgn import Type, TypeKind, TypeMember

from crashkit.errors import Reason, Unavailable
from crashkit.layout import member_at, members_at, offset_of, pointee, size_of, strip
from tests.unit.kernel_doubles import Kernel


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel()
    kernel.struct("net", 0xB00, ("count", "int", 0))
    kernel.declare("sock")
    _wrapper(kernel, "possible_net_t", TypeMember(kernel.type("struct net *"), "net", 0))
    _wrapper(kernel, "atomic_t", TypeMember(kernel.type("int"), "counter", 0))
    _wrapper(kernel, "refcount_t", TypeMember(kernel.type("atomic_t"), "refs", 0))
    kernel.struct("hlist_head", 8, ("first", "void *", 0))
    kernel.struct("node", 16, ("next", "struct node *", 0), ("pprev", "void **", 8))
    kernel.struct("hash", 0x38, ("hnnode", "struct node", 0), ("tuple", "unsigned int [10]", 16))
    kernel.struct(
        "nf_conn",
        0xF8,
        ("use", "refcount_t", 0),
        ("tuplehash", "struct hash [2]", 0x10),
        ("status", "unsigned long", 0x80),
        ("ct_net", "possible_net_t", 0x88),
        ("bucket", "struct hlist_head", 0x90),
        ("name", "char [16]", 0x98),
        ("flags", "unsigned int", 0xA8, 0, 3),
        ("more", "unsigned int", 0xA8, 3, 2),
        ("tail", "unsigned int", 0xAC, 8, 4),
    )
    return kernel


def _wrapper(kernel: Kernel, name: str, member: TypeMember) -> None:
    prog = kernel.prog
    inner = prog.struct_type(None, size_of(member.type), (member,))
    kernel._types[TypeKind.TYPEDEF, name] = prog.typedef_type(name, inner)


@pytest.mark.parametrize(
    ("offset", "size", "text", "ctype"),
    [
        (0, 4, "use", "int"),
        (0x10, 8, "tuplehash[0].hnnode.next", "struct node *"),
        (0x48, 8, "tuplehash[1].hnnode.next", "struct node *"),
        (0x50, 8, "tuplehash[1].hnnode.pprev", "void **"),
        (0x5C, 4, "tuplehash[1].tuple[1]", "unsigned int"),
        (0x80, 8, "status", "unsigned long"),
        (0x88, 8, "ct_net", "struct net *"),
        (0x90, 8, "bucket.first", "void *"),
        (0x9B, 1, "name[3]", "char"),
        (0xAD, 1, "tail", "unsigned int"),
    ],
)
def test_member_of_an_access(kernel: Kernel, offset: int, size: int, text: str, ctype: str) -> None:
    path = member_at(kernel.type("struct nf_conn"), offset, size)
    assert (path.text, path.type.type_name(), path.complete) == (text, ctype, True)
    assert not path.ambiguous


def test_an_address_means_the_outermost_member_that_starts_there(kernel: Kernel) -> None:
    conn = kernel.type("struct nf_conn")
    assert member_at(conn, 0x48).text == "tuplehash[1]"
    assert member_at(conn, 0x88).type.type_name() == "possible_net_t"
    assert member_at(conn, 0x50).text == "tuplehash[1].hnnode.pprev"


def test_part_of_a_member_is_incomplete_and_says_how_far_in(kernel: Kernel) -> None:
    conn = kernel.type("struct nf_conn")
    low = member_at(conn, 0x80, 1)
    high = member_at(conn, 0x85, 1)
    text = member_at(conn, 0x98, 8)
    assert (low.text, low.offset, low.complete) == ("status", 0, False)
    assert (high.text, high.offset, high.complete) == ("status", 5, False)
    assert (text.text, text.complete) == ("name", False)


def test_bit_fields_sharing_a_byte_are_all_named(kernel: Kernel) -> None:
    path = member_at(kernel.type("struct nf_conn"), 0xA8, 1)
    assert path.text == "flags"
    assert path.alternatives == ("more",)
    assert path.bit_field


def test_no_member_and_no_description_are_different_answers(kernel: Kernel) -> None:
    with pytest.raises(Unavailable) as hole:
        member_at(kernel.type("struct nf_conn"), 0xF0, 8)
    with pytest.raises(Unavailable) as undescribed:
        member_at(kernel.type("struct sock"), 0, 8)
    with pytest.raises(Unavailable) as scalar:
        member_at(kernel.type("int"), 0, 4)
    assert hole.value.reason is Reason.NOT_APPLICABLE
    assert undescribed.value.reason is Reason.NO_DEBUGINFO
    assert scalar.value.reason is Reason.NOT_APPLICABLE


def test_union_members_are_told_apart_by_size_or_all_listed(kernel: Kernel) -> None:
    kernel.union("u", 8, ("word", "unsigned int", 0), ("pointer", "void *", 0), ("id", "long", 0))
    union = kernel.type("union u")
    assert member_at(union, 0, 4).text == "word"
    assert not member_at(union, 0, 4).ambiguous
    both = members_at(union, 0, 8)
    assert [path.text for path in both] == ["pointer", "id"]
    assert both[0].alternatives == ("id",)


def test_anonymous_members_are_transparent(kernel: Kernel) -> None:
    prog = kernel.prog
    inner = prog.struct_type(
        None, 16, (TypeMember(prog.type("int"), "a", 0), TypeMember(prog.type("long"), "b", 64))
    )
    outer = prog.union_type(None, 16, (TypeMember(inner, None, 0),))
    whole = prog.struct_type("w", 24, (TypeMember(outer, None, 64),))
    assert member_at(whole, 16, 8).text == "b"
    assert offset_of(whole, "b") == 16


def test_flexible_arrays_go_on_past_their_struct(kernel: Kernel) -> None:
    prog = kernel.prog
    for length in (None, 0):
        array = prog.array_type(prog.type("long"), length)
        members = (TypeMember(prog.type("int"), "n", 0), TypeMember(array, "data", 64))
        type_ = prog.struct_type("flexible", 8, members)
        assert member_at(type_, 8 + 3 * 8, 8).text == "data[3]"


def test_a_zero_sized_marker_in_the_middle_is_no_member(kernel: Kernel) -> None:
    prog = kernel.prog
    marker = prog.struct_type(None, 0, ())
    members = (TypeMember(marker, "__init_offset", 0), TypeMember(prog.type("long"), "status", 0))
    assert member_at(prog.struct_type("c", 8, members), 0, 8).text == "status"
    assert member_at(prog.struct_type("c", 8, members), 0).text == "status"


def test_offsets_of_designators(kernel: Kernel) -> None:
    conn = kernel.type("struct nf_conn")
    assert offset_of(conn, "tuplehash[1].tuple[2]") == 0x60
    assert offset_of(kernel.prog.typedef_type("ct", conn), "status") == 0x80
    for wrong in ("nothing", "tuplehash[", "status.x", "more"):
        with pytest.raises(Unavailable):
            offset_of(conn, wrong)


def test_every_offset_of_a_member_leads_back_to_it(kernel: Kernel) -> None:
    conn = kernel.type("struct nf_conn")
    for offset in range(0xB0):
        try:
            path = member_at(conn, offset, 1)
        except Unavailable:
            continue
        if not path.bit_field:
            assert offset_of(conn, path.text) + path.offset == offset


def test_typedefs_and_qualifiers_do_not_hide_a_pointer(kernel: Kernel) -> None:
    prog = kernel.prog
    pointer = prog.typedef_type("p", prog.pointer_type(prog.type("const struct net")))
    target = pointee(pointer)
    assert isinstance(target, Type)
    assert strip(target).tag == "net"
    assert pointee(prog.type("long")) is None
    assert size_of(prog.void_type()) is None
    assert size_of(kernel.type("struct sock")) is None
