"""BTF: index, types and look-ups, on hand-made and on broken blobs."""

from __future__ import annotations

import drgn
import pytest
from drgn import Program, TypeKind
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.errors import Reason, Unavailable
from crashkit.symbols.btf import Blob, Kind
from crashkit.symbols.btf_types import BtfTypes
from tests.unit.btf_doubles import BtfWriter


def program(*blobs: Blob) -> tuple[Program, BtfTypes]:
    prog = Program(drgn.Platform(drgn.Architecture.X86_64))
    types = BtfTypes(prog, blobs[0])
    types.use_modules(lambda: blobs[1:])
    prog.register_type_finder("test", types.find_type, enable_index=0)
    return prog, types


def sample() -> BtfWriter:
    w = BtfWriter()
    long_ = w.integer("long unsigned int", 8)
    int_ = w.integer("int", 4, signed=True)
    node = w.next_id + 1
    pointer = w.pointer(node)
    assert (
        w.structure("node", 24, ("next", pointer, 0), ("value", long_, 64), ("n", int_, 128))
        == node
    )
    w.add(Kind.TYPEDEF, "node_t", node)
    return w


def test_struct_members_have_names_types_and_offsets() -> None:
    prog, _types = program(sample().blob())
    node = prog.type("struct node")
    assert node.size == 24
    assert [(m.name, m.bit_offset, m.type.type_name()) for m in node.members or ()] == [
        ("next", 0, "struct node *"),
        ("value", 64, "unsigned long"),
        ("n", 128, "int"),
    ]
    assert prog.type("node_t").type.tag == "node"


def test_integer_is_found_under_its_short_spelling() -> None:
    prog, _types = program(sample().blob())
    assert prog.type("unsigned long").size == 8
    assert not prog.type("unsigned long").is_signed


def test_bit_fields_keep_their_width() -> None:
    w = BtfWriter()
    u32 = w.integer("unsigned int", 4)
    w.structure("flags", 4, ("low", u32, 3 << 24 | 0), ("high", u32, 5 << 24 | 3), flag=1)
    prog, _types = program(w.blob())
    members = prog.type("struct flags").members or ()
    assert [(m.name, m.bit_offset, m.bit_field_size) for m in members] == [
        ("low", 0, 3),
        ("high", 3, 5),
    ]


def test_flexible_array_is_the_last_member_of_length_zero() -> None:
    w = BtfWriter()
    u8 = w.integer("unsigned char", 1)
    empty = w.add(Kind.ARRAY, "", 0, u8, u8, 0)
    w.structure("tail", 1, ("first", empty, 0), ("n", u8, 0), ("data", empty, 8))
    prog, _types = program(w.blob())
    first, _n, data = list(prog.type("struct tail").members or ())
    assert first.type.length == 0
    assert data.type.length is None


@pytest.mark.parametrize(
    ("values", "told", "expected"),
    [
        (((0xFFFFFFFF,)), 0, [-1]),  # old pahole: no enum of the blob has the flag
        (((0xFFFFFFFF,)), 1, [0xFFFFFFFF]),  # another enum has it, so its absence is told
        (((1, 2)), 0, [1, 2]),
    ],
)
def test_signedness_of_enums(values: tuple[int, ...], told: int, expected: list[int]) -> None:
    w = BtfWriter()
    w.integer("unsigned int", 4)
    w.enumeration("e", *((f"V{n}", value) for n, value in enumerate(values)))
    if told:
        w.enumeration("other", ("NEGATIVE", -1), flag=1)
    prog, _types = program(w.blob())
    assert [e.value for e in prog.type("enum e").enumerators or ()] == expected


def test_forward_declaration_is_resolved_in_a_module() -> None:
    base = BtfWriter()
    base.integer("int", 4, signed=True)
    fwd = base.add(Kind.FWD, "nf_conn", 0)
    base.structure("holder", 8, ("ct", base.pointer(fwd), 0))
    vmlinux = base.blob()
    module = BtfWriter(vmlinux)
    module.structure("nf_conn", 4, ("mark", 1, 0))
    prog, _types = program(vmlinux, module.blob("nf_conntrack"))
    ct = next(iter(prog.type("struct holder").members or ())).type.type
    assert ct.size == 4
    assert [m.name for m in prog.type("struct nf_conn").members or ()] == ["mark"]


def test_a_name_asked_for_while_modules_load_is_found_after() -> None:
    vmlinux = sample().blob()
    module = BtfWriter(vmlinux)
    module.structure("nf_conn", 4, ("mark", 1, 0))
    module.structure("nf_conn_help", 8, ("expecting", 1, 0))
    blob = module.blob("nf_conntrack")
    prog, types = program(vmlinux)

    def load() -> tuple[Blob]:
        with pytest.raises(LookupError):
            prog.type("struct nf_conn_help")  # only vmlinux is known yet
        return (blob,)

    types.use_modules(load)
    assert prog.type("struct nf_conn").size == 4
    assert prog.type("struct nf_conn_help").size == 8


def test_module_types_can_be_asked_for_by_module() -> None:
    vmlinux = sample().blob()
    module = BtfWriter(vmlinux)
    module.structure("node", 8, ("other", 1, 0))
    prog, _types = program(vmlinux, module.blob("nf_conntrack"))
    assert prog.type("struct node").size == 24
    assert prog.type("struct node", "nf_conntrack").size == 8


def test_function_prototype_has_parameter_names() -> None:
    w = sample()
    proto = w.prototype(0, ("skb", 3), ("flags", 1))
    w.add(Kind.FUNC, "confirm", proto)
    _prog, types = program(w.blob())
    found = types.find_record("confirm", (Kind.FUNC,))
    assert found is not None
    made = types.make(found[0], found[1].id)
    assert made.kind is TypeKind.FUNCTION
    assert [p.name for p in made.parameters] == ["skb", "flags"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:10], Reason.CORRUPTED),
        (lambda d: b"\0\0" + d[2:], Reason.CORRUPTED),
        (lambda d: d[:2] + b"\x09" + d[3:], Reason.UNSUPPORTED),
        (lambda d: d[:-1] + b"x", Reason.CORRUPTED),
        (lambda d: d[:12] + b"\xff\xff\xff\x7f" + d[16:], Reason.CORRUPTED),
        (lambda d: d[:31] + b"\x1f" + d[32:], Reason.UNSUPPORTED),
    ],
)
def test_broken_blobs_are_refused(change: object, reason: Reason) -> None:
    assert callable(change)
    with pytest.raises(Unavailable) as caught:
        Blob("vmlinux", change(sample().data()))
    assert caught.value.reason is reason


def test_types_that_nest_without_end_are_refused() -> None:
    w = BtfWriter()
    w.add(Kind.CONST, "", 2)
    w.add(Kind.PTR, "", 1)
    _prog, types = program(w.blob())
    with pytest.raises(Unavailable) as caught:
        types.make(types.vmlinux, 1)
    assert caught.value.reason is Reason.CORRUPTED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_raise_anything_but_a_reason(noise: bytes, at: int) -> None:
    data = bytearray(sample().data())
    start = 24 + at % (len(data) - 24)
    data[start : start + len(noise)] = noise
    try:
        blob = Blob("vmlinux", bytes(data))
        _prog, types = program(blob)
        made = [types.make(blob, type_id) for type_id in range(1, blob.end_id)]
        members = [t.members for t in made if t.kind in (TypeKind.STRUCT, TypeKind.UNION)]
        assert all(member.name != "" for some in members for member in some or ())
    except Unavailable as refused:
        assert refused.reason in (Reason.CORRUPTED, Reason.UNSUPPORTED)
