"""The whole table: every entry once, whatever the chains hold; what each entry says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.decode import decode_nf_conn
from crashkit.decode.conntrack_fast import BOTH, ORIGINAL, REPLY
from crashkit.decode.conntrack_filter import Wanted, entry_filter
from crashkit.decode.conntrack_table import Table
from crashkit.decode.conntrack_table_entry import TableEntry
from crashkit.errors import Reason, Unavailable, UsageError
from tests.unit.kernel_doubles import Kernel, chain
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel
from tests.unit.test_decode_conntrack_hash import TABLE, entry, links, node, with_table

MakeKernel = Callable[[], Kernel]
both = pytest.mark.parametrize("make", [modern_kernel, el7_kernel])


def in_table(kernel: Kernel, *entries: Object) -> None:
    """Hang entries into two chains: their original nodes into 3, their replies into 9."""
    chain(kernel, TABLE, 3, *(node(ct, 0) for ct in entries))
    chain(kernel, TABLE, 9, *(node(ct, 1) for ct in entries))


def walked(kernel: Kernel) -> tuple[Table, dict[int, TableEntry]]:
    table = Table(kernel.prog)
    found = list(table.hash_entries())
    by_address = {one.address: one for one in found}
    assert len(by_address) == len(found)
    return table, by_address


def damage(table: Table) -> dict[str, int]:
    (state,) = table.states
    return dict(state.damage)


def only(kernel: Kernel, **members: int | bytes) -> TableEntry:
    ct = entry(kernel)
    kernel.set(ct, {name.replace("__", "."): value for name, value in members.items()})
    in_table(kernel, ct)
    (found,) = walked(kernel)[1].values()
    return found


@both
def test_every_entry_once_as_the_single_decoder_has_it(make: MakeKernel) -> None:
    # 40 entries of 312 bytes: their slots do not divide a page.
    kernel = with_table(make)
    entries = [entry(kernel) for _ in range(40)]
    in_table(kernel, *entries)
    table, found = walked(kernel)
    assert sorted(found) == sorted(ct.value_() for ct in entries)
    assert damage(table) == {}
    assert (table.states[0].nodes, table.states[0].used, table.states[0].longest) == (80, 2, 40)
    for ct in entries:
        facts, one = decode_nf_conn(ct), found[ct.value_()]
        assert (one.original, one.reply) == (facts.original, facts.reply)
        assert (one.row.use, one.row.status, one.row.timeout) == (2, facts.status, facts.timeout)
        assert (one.row.net, one.row.mark, one.row.cpu) == (facts.net, facts.mark, facts.cpu)
        assert one.status_names == facts.status_names
        assert (one.record.linked, one.departures, one.translated) == (BOTH, (), False)
    assert table.entries == {kernel.prog["init_net"].address_: 40}


@pytest.mark.parametrize(("direction", "linked"), [(0, ORIGINAL), (1, REPLY)])
def test_one_direction_only(direction: int, linked: int) -> None:
    kernel = with_table(modern_kernel)
    ct = entry(kernel)
    chain(kernel, TABLE, 4, node(ct, direction))
    (found,) = walked(kernel)[1].values()
    assert found.record.linked == linked
    word = ("original", "reply")[direction] + "-direction-only"
    assert found.departures == (word,)
    kernel.set(ct, {"status": 8 | 1 << 12})
    (clash,) = walked(kernel)[1].values()
    assert clash.departures == ((word,) if linked == ORIGINAL else ())


def test_a_cycle_ends_and_is_counted() -> None:
    kernel = with_table(modern_kernel)
    first, second = entry(kernel), entry(kernel)
    in_table(kernel, first, second)
    kernel.set(second, {links(second, 0)["next"]: node(first, 0)})
    table, found = walked(kernel)
    assert len(found) == 2
    assert damage(table) == {"chain meets itself or another": 1}


def test_a_chain_that_runs_into_another_is_the_only_one_to_blame() -> None:
    kernel = with_table(modern_kernel)
    first, second, third = entry(kernel), entry(kernel), entry(kernel)
    chain(kernel, TABLE, 3, node(first, 0))
    chain(kernel, TABLE, 5, node(second, 0), node(third, 0))
    kernel.set(first, {links(first, 0)["next"]: node(third, 0)})
    table, found = walked(kernel)
    assert len(found) == 3
    assert damage(table) == {"chain ends in another bucket's marker": 1}


@pytest.mark.parametrize(
    ("following", "kind"),
    [
        (2 * 7 + 1, "chain ends in another bucket's marker"),
        (0, "chain leads nowhere"),
        (0xDEAD_0000_0000_0100, "chain leads nowhere"),
        (0xFFFF_8880_0030_0004, "chain leads nowhere"),
        (0xFFFF_8880_7777_0000, "chain leads to a page that is not in the dump"),
    ],
)
def test_a_broken_chain_loses_its_rest_only(following: int, kind: str) -> None:
    kernel = with_table(modern_kernel)
    first, second = entry(kernel), entry(kernel)
    in_table(kernel, first, second)
    kernel.set(first, {links(first, 0)["next"]: following})
    table, found = walked(kernel)
    assert damage(table) == {kind: 1}
    assert found[first.value_()].record.linked == BOTH
    assert found[second.value_()].departures == ("reply-direction-only",)


def test_a_missing_page_of_buckets_is_counted() -> None:
    kernel = with_table(modern_kernel)
    in_table(kernel, entry(kernel))
    kernel.drop(TABLE)
    table, found = walked(kernel)
    assert not found
    assert damage(table) == {"buckets that are not in the dump": 16}


def test_an_overwritten_direction_makes_no_entry() -> None:
    kernel = with_table(modern_kernel)
    first, second = entry(kernel), entry(kernel)
    in_table(kernel, first, second)
    kernel.set(first, {"tuplehash[0].tuple.dst.dir": 1, "tuplehash[1].tuple.dst.dir": 7})
    table, found = walked(kernel)
    assert sorted(damage(table)) == ["node with no direction's number"]
    assert second.value_() in found
    kernel.set(first, {"tuplehash[1].tuple.dst.dir": 1})
    table, found = walked(kernel)
    assert damage(table) == {"node with the other direction's number": 1}
    assert found[first.value_()].departures == ("wrong-directions", "reply-direction-only")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"status": 0}, ("unconfirmed-in-hash",)),
        ({"status": 8 | 1 << 9}, ("dying-in-hash",)),
        ({"ct_general__use": 0}, ("freed",)),
        ({"ct_net__net": 0xFFFF_8880_0000_1000}, ("unknown-namespace",)),
        ({"tuplehash[1]__tuple__src__l3num": 10}, ("tuples-disagree",)),
    ],
)
def test_departures(members: dict[str, int], words: tuple[str, ...]) -> None:
    if "ct_general__use" in members:
        members = {"ct_general__use": bytes(4)}  # type: ignore[dict-item]
    assert only(with_table(modern_kernel), **members).departures == words


def with_clock(kernel: Kernel, now: int = 0x1_FFFF_FF00) -> Kernel:
    kernel.variable("jiffies", "unsigned long", now)
    kernel.variable("tick_nsec", "unsigned long", 4_000_000)
    return kernel


def test_times() -> None:
    later = only(with_clock(with_table(modern_kernel)), timeout=0x10)
    assert (later.remaining, later.lifetime, later.expired) == (0x110 / 250, None, False)
    over = only(with_clock(with_table(modern_kernel)), timeout=0xFFFF_FE00)
    assert (over.remaining, over.expired) == (-0x100 / 250, True)
    assert over.departures == ("expired",)
    fresh = only(with_clock(with_table(modern_kernel)), timeout=7500, status=0)
    assert (fresh.remaining, fresh.lifetime, fresh.expired) == (None, 30.0, None)
    unknown = only(with_table(modern_kernel), timeout=7500)
    assert (unknown.remaining, unknown.lifetime, unknown.expired) == (None, None, None)
    assert isinstance(unknown.table.clock, Unavailable)


def test_translation_shows_in_the_reply() -> None:
    found = only(
        with_table(modern_kernel), **{"tuplehash[1]__tuple__src__u__all": (8080).to_bytes(2, "big")}
    )
    assert found.translated is True


def with_extensions(kernel: Kernel, ext: int, offsets: bytes) -> Kernel:
    kernel.enum("nf_ct_ext_id", NF_CT_EXT_HELPER=0, NF_CT_EXT_ACCT=1, NF_CT_EXT_LABELS=2,
                NF_CT_EXT_NUM=3)  # fmt: skip
    kernel.typedef("atomic64_t", "unsigned long")
    kernel.struct("nf_conn_counter", 16, ("packets", "atomic64_t", 0), ("bytes", "atomic64_t", 8))
    kernel.struct("nf_conn_acct", 32, ("counter", "struct nf_conn_counter [2]", 0))
    kernel.struct("nf_conntrack_helper", 64, ("name", "char [16]", 16))
    kernel.struct("nf_conn_help", 48, ("helper", "struct nf_conntrack_helper *", 0))
    kernel.struct("nf_conn_labels", 16, ("bits", "unsigned long [2]", 0))
    kernel.put(ext, offsets.ljust(16, b"\0") + bytes(112))
    return kernel


EXT = 0xFFFF_8880_0070_0FC0  # its data crosses into the next page


def test_extensions() -> None:
    kernel = with_extensions(with_table(modern_kernel), EXT, bytes([16, 24, 64]))
    helper = 0xFFFF_8880_0080_0000
    kernel.put(helper + 16, b"ft\x1bp\0")
    kernel.put(EXT + 16, helper.to_bytes(8, "little"))
    kernel.put(EXT + 24, b"".join(n.to_bytes(8, "little") for n in (3, 300, 2, 1 << 40)))
    kernel.put(EXT + 64, (1 << 5 | 1 << 127).to_bytes(16, "little"))
    assert only(kernel, ext=EXT).extensions == {
        "helper": "ft\\x1bp",
        "acct": {
            "original": {"packets": 3, "bytes": 300},
            "reply": {"packets": 2, "bytes": 1 << 40},
        },
        "labels": [5, 127],
    }


@pytest.mark.parametrize(
    ("ext", "offsets", "reason"),
    [
        (0x1000, b"", Reason.CORRUPTED),
        (EXT, bytes([3]), Reason.CORRUPTED),
        (EXT, bytes([0, 0, 0, 16]), Reason.CORRUPTED),
        (0xFFFF_8880_6666_0000, b"", Reason.NOT_IN_DUMP),
    ],
)
def test_damaged_extensions(ext: int, offsets: bytes, reason: Reason) -> None:
    kernel = with_extensions(with_table(modern_kernel), EXT, offsets)
    found = only(kernel, ext=ext)
    with pytest.raises(Unavailable) as caught:
        _ = found.extensions
    assert caught.value.reason is reason


def test_the_zone_of_older_kernels_is_an_extension() -> None:
    kernel = with_table(el7_kernel)
    kernel.put(EXT, bytes(16) + bytes([0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0]) + bytes(64))
    kernel.put(EXT + 32, (7).to_bytes(2, "little"))
    assert only(kernel, ext=EXT).zone == 7
    assert only(with_table(el7_kernel)).zone == 0


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Wanted(), True),
        (Wanted(proto="udp", src="10.76.59.158", dst="10.76.59.115"), True),
        (Wanted(proto="17", src="10.76.0.0/16", sport="41000", dport="4789"), True),
        (Wanted(status="confirmed,!dying,UNREPLIED", zone="0", mark="0/0xf"), True),
        (Wanted(status="!CONFIRMED"), False),
        (Wanted(status="SEEN_REPLY"), False),
        (Wanted(proto="tcp"), False),
        (Wanted(src="10.76.59.115"), False),
        (Wanted(src="::/0"), False),
        (Wanted(dport="41000"), False),
        (Wanted(state="ESTABLISHED,time_wait"), False),
        (Wanted(zone="1"), False),
        (Wanted(mark="1"), False),
    ],
)
def test_filters(wanted: Wanted, matches: bool) -> None:
    found = only(with_table(modern_kernel))
    test = entry_filter(wanted, found.table)
    assert (test is None or test(found)) is matches


def test_a_filter_by_namespace_takes_its_number_or_its_address() -> None:
    kernel = with_table(modern_kernel)
    net = kernel.prog["init_net"]
    kernel.set(net.address_of_(), {"ns.inum": 4026531840})
    found = only(kernel)
    for text in ("4026531840", hex(net.address_ or 0)):
        test = entry_filter(Wanted(netns=text), found.table)
        assert test is not None
        assert test(found)
    with pytest.raises(UsageError, match="there are 4026531840"):
        entry_filter(Wanted(netns="1"), found.table)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(proto="quic"), "tcp"),
        (Wanted(proto="256"), "255"),
        (Wanted(state="OPENED"), "ESTABLISHED"),
        (Wanted(status="ALIVE"), "ASSURED"),
        (Wanted(src="10.1"), "not an address"),
        (Wanted(dport="65536"), "65535"),
        (Wanted(sport="http"), "not a number"),
        (Wanted(mark="1/x"), "not a number"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(wanted: Wanted, words: str) -> None:
    table = Table(with_table(modern_kernel).prog)
    with pytest.raises(UsageError, match=words):
        entry_filter(wanted, table)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 30),
            st.sampled_from([0, 2, 7, 9, 19, 1 << 63, (1 << 64) - 1, "node", "next"]),
            st.integers(0, 5),
        ),
        max_size=8,
    )
)
def test_whatever_stands_in_memory_the_walk_ends(
    damages: list[tuple[int, int, int | str, int]],
) -> None:
    kernel = with_table(modern_kernel)
    entries = [entry(kernel) for _ in range(6)]
    in_table(kernel, *entries)
    for which, word, value, other in damages:
        target = entries[other]
        number = {"node": node(target, other & 1), "next": node(target, 0) + 8}.get(
            str(value), value
        )
        assert isinstance(number, int)
        kernel.put(entries[which].value_() + 8 * word, number.to_bytes(8, "little"))
    found = walked(kernel)[1]
    assert len(found) <= 12
    for one in found.values():
        assert isinstance(one.departures, tuple)
