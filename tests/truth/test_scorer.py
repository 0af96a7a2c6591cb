"""The scorer itself: which events are truth, and what counts as right and wrong."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
from drgn import Architecture, Platform, Program, Type

from tests.truth.events import Event, Losses, _entries, in_order, live_activations
from tests.truth.functions import add_functions
from tests.truth.tally import Row, read_rows, score, table, tables, wrong_rows
from tests.truth.truths import Place, places_of

OUTER, MIDDLE, INNER = 0x1000, 0x2000, 0x3000


def entered(time: int, function: int, sp: int) -> Event:
    return Event(time=time, pid=7, function=function, sp=sp, registers=(1, 2, 3, 4, 5, 6))


def test_the_newest_chain_of_entries_is_alive() -> None:
    events = [entered(1, OUTER, 900), entered(2, MIDDLE, 800), entered(3, INNER, 700)]
    live = live_activations(events, 0, 1000)
    assert {sp: event.function for sp, event in live.items()} == {
        900: OUTER,
        800: MIDDLE,
        700: INNER,
    }


def test_a_later_entry_further_out_ends_what_was_inside() -> None:
    events = [entered(1, OUTER, 900), entered(2, INNER, 700), entered(3, MIDDLE, 800)]
    assert set(live_activations(events, 0, 1000)) == {900, 800}


def test_a_tail_call_replaces_its_caller_at_the_same_stack_pointer() -> None:
    events = [entered(1, OUTER, 900), entered(2, INNER, 900)]
    assert live_activations(events, 0, 1000)[900].function == INNER


def test_of_repeated_calls_the_last_one_counts() -> None:
    assert (
        live_activations([entered(1, INNER, 700), entered(2, INNER, 700)], 0, 1000)[700].time == 2
    )


def test_other_stacks_do_not_matter() -> None:
    events = [entered(1, OUTER, 900), entered(2, INNER, 5000)]
    assert set(live_activations(events, 0, 1000)) == {900}


def test_events_of_one_task_at_one_time_on_two_cpus_are_in_no_order() -> None:
    first, again, later = entered(1, OUTER, 900), entered(5, INNER, 700), entered(5, MIDDLE, 800)
    ordered = in_order([(0, first), (0, again), (1, later), (1, entered(6, INNER, 700))])
    assert [(event.time, event.certain) for event in ordered] == [
        (1, True),
        (5, False),
        (5, False),
        (6, True),
    ]


def test_events_at_one_time_are_as_their_cpu_has_them() -> None:
    rounds = [entered(5, INNER, 700), entered(5, MIDDLE, 700), entered(5, INNER, 700)]
    other = dataclasses.replace(entered(5, INNER, 700), pid=8)
    ordered = in_order([*((1, event) for event in rounds), (2, other)])
    assert [event.function for event in ordered[:3]] == [INNER, MIDDLE, INNER]
    assert all(event.certain for event in ordered)


def test_what_a_log_lacks_is_said() -> None:
    lacks = Losses(overrun=5, dropped=1, missed=7, functions=2, unordered=3)
    assert str(lacks) == ("5 overwritten, 1 dropped, 7 missed in 2 functions, 3 in no known order")


def record(kind: int, delta: int, *words: int) -> bytes:
    return struct.pack(f"<{1 + len(words)}I", kind | delta << 5, *words)


def test_ring_buffer_entries_by_kind() -> None:
    content = (
        record(2, 5, 11, 12)
        + record(30, 3, 1)  # extends the time by (1 << 27) + 3
        + record(0, 1, 12, 21, 22)  # length in the second word, which it includes
        + record(29, 4, 8, 0)  # padding in the middle
        + record(1, 6, 31)
        + record(29, 0)
        + record(1, 6, 99)
    )
    found = [
        (time, struct.unpack(f"<{len(data) // 4}I", data)) for time, data in _entries(100, content)
    ]
    later = 105 + (1 << 27) + 3
    assert found == [(105, (11, 12)), (later + 1, (21, 22)), (later + 11, (31,))]


def row(**changes: object) -> Row:
    plain = Row(
        dump="d", kernel="k", comm="c", running=False, interrupted=False, function="f", offset=9,
        parameter="skb", pointer=True, tier="proved", value=5, truth=5, drgn=5, linear=5,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_a_site_counts_once_and_is_wrong_if_any_frame_is() -> None:
    found = score([row(), row(comm="other", truth=6), row(parameter="state", truth=None)])
    assert (found.sites, found.proved.right, found.proved.wrong) == (2, 0, 1)
    assert found.proved.unchecked == 1
    assert (found.activations.right, found.activations.wrong) == (1, 1)
    assert (found.drgn.total, found.drgn.wrong) == (2, 1)


def test_a_site_that_is_missing_in_one_frame_is_missing() -> None:
    found = score([row(), row(tier="optimized-out", value=None)])
    assert (found.proved.total, found.missing) == (0, 1)
    assert score([row(), row(tier="inferred")]).inferred.total == 1


def test_only_proved_values_are_reported_as_wrong() -> None:
    wrong = row(value=4)
    assert wrong_rows([row(), wrong, row(value=4, tier="inferred"), row(truth=None)]) == [wrong]


def test_a_missing_value_is_neither_right_nor_wrong() -> None:
    assert row(value=None).is_right(None) is None
    assert row(value=0).is_right(0) is False


def test_rows_survive_their_file_and_make_a_table(tmp_path: Path) -> None:
    import json

    rows = [row(), row(parameter="%rdi", pointer=False), row(parameter="len", pointer=False)]
    path = tmp_path / "rows"
    path.write_text("".join(json.dumps(dataclasses.asdict(each)) + "\n" for each in rows))
    assert list(read_rows(path)) == rows
    text = table(rows)
    assert "| pointers | 1 | 100.0 %: 1 (1 right, 0 wrong)" in text
    assert "| all parameters | 2 |" in text
    assert "| registers at entry | 1 |" in text


def test_every_kernel_and_source_of_names_has_a_table() -> None:
    other = row(kernel="l", types="dwarf", function="f.isra.0", ctype="const struct sk_buff *")
    text = tables([row(types="btf"), row(types="btf", dump="e"), other])
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### k, btf: 2 dumps",
        "### l, dwarf: 1 dumps",
    ]
    assert text.count("| sk_buff parameters | 1 |") == 1
    assert text.count("| of clones | 1 |") == 1


def test_entry_values_are_a_column_of_their_own() -> None:
    found = score([row(entry=4), row(parameter="state", entry=None)])
    assert (found.entry.total, found.entry.wrong, found.drgn.wrong) == (1, 1, 0)


@pytest.fixture
def prog() -> Program:
    return Program(Platform(Architecture.X86_64))


def structure(prog: Program, size: int) -> Type:
    byte = prog.int_type("unsigned char", 1, False)
    from drgn import TypeMember

    return prog.struct_type("s", size, (TypeMember(prog.array_type(byte, size), "bytes"),))


def test_registers_by_the_abi(prog: Program) -> None:
    from drgn import TypeParameter

    word = prog.int_type("long", 8, True)
    floating = prog.float_type("double", 8)
    parameters = [floating, word, structure(prog, 16), structure(prog, 24), *[word] * 4]
    type_ = prog.function_type(
        word, [TypeParameter(each, f"p{n}") for n, each in enumerate(parameters)]
    )
    places = [place.register for place in places_of(type_)]
    assert places == [None, "rdi", None, None, "rcx", "r8", "r9", None]


def test_a_structure_returned_in_memory_takes_rdi(prog: Program) -> None:
    from drgn import TypeParameter

    word = prog.int_type("long", 8, True)
    type_ = prog.function_type(structure(prog, 24), [TypeParameter(word, "first")])
    assert [place.register for place in places_of(type_)] == ["rsi"]


def test_words_of_the_stack_by_the_abi(prog: Program) -> None:
    from drgn import TypeParameter

    word = prog.int_type("int", 4, True)
    parameters = [*[word] * 5, structure(prog, 16), structure(prog, 24), *[word] * 2]
    type_ = prog.function_type(
        word, [TypeParameter(each, f"p{n}") for n, each in enumerate(parameters)]
    )
    found = [(place.register, place.word) for place in places_of(type_)][5:]
    assert found == [(None, None), (None, None), ("r9", None), (None, 5)]


def test_what_was_passed_is_cut_to_size(prog: Program) -> None:
    event = dataclasses.replace(entered(1, OUTER, 900), stack=(7, 0x1_0000_0008))
    word = prog.int_type("int", 4, True)
    assert Place(type=word, register="rsi").passed(event) == 2
    assert Place(type=word, word=1).passed(event) == 8
    assert Place(type=word, word=2).passed(event) is None
    assert Place(type=word).passed(event) is None


def test_the_list_of_probes_grows(tmp_path: Path) -> None:
    path = tmp_path / "probes"
    assert add_functions(path, {"_text+0x20", "m:f"}) == 2
    assert add_functions(path, {"_text+0x10", "m:f"}) == 3
    assert path.read_text() == "f_0 _text+0x10\nf_1 _text+0x20\nf_2 m:f\n"


def test_names_of_another_kernel_give_way_to_places(tmp_path: Path) -> None:
    path = tmp_path / "probes"
    assert add_functions(path, {"udp_sendmsg", "truth:blame"}) == 2
    assert add_functions(path, {"udp_rcv"}) == 3
    assert add_functions(path, {"_text+0x10"}) == 2
    assert path.read_text() == "f_0 _text+0x10\nf_1 truth:blame\n"
