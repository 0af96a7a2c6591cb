"""What report B offers instead of an explanation: what stands out, what to look at next."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.report.columns import WIDTH, bare, wrap
from crashkit.report.parts import Json
from crashkit.report.printed_part import PRINTED_UNSURE
from crashkit.report.text_access import held_by, is_check, is_division
from crashkit.report.text_fault import evidence
from crashkit.report.text_head import bad_link

_OUTSIDE = {"O": "out-of-tree", "P": "proprietary", "E": "unsigned", "F": "forced"}
_NO_POISON = ("err-ptr", "container-of-null", "user-pointer", "one-bit-off", "ascii")
_SEARCHED = 5
_LOWEST, _ERRORS = 0xFF00_0000_0000_0000, (1 << 64) - 4096
"""The first kernel address with five levels of page tables; the error numbers as pointers."""
_BEFORE, _AFTER = 6, 4
"""Instructions shown around the trapping one."""


def standing_out(document: Json, *, brief: bool = False) -> list[str]:
    """Number what is unusual in this crash, then say what it is not.

    :param brief: without what the statements rest on
    """
    found = [
        *_from_fault(document["fault"], brief),
        *_from_sections(document["panic"]["facts"]),
        *_from_frames(document),
        *_from_panic(document),
    ]
    lines: list[str] = []
    for number, words in enumerate(found, 1):
        statement, *rests_on = words.split("\n")
        lines += wrap(statement, WIDTH, "    ", f"{number:2}  ")
        for sentence in rests_on:
            lines += wrap(sentence, WIDTH, "      ", "    - ")
    excluded = _excluded(document["fault"])
    if excluded:
        lines += wrap("; ".join(excluded), WIDTH, " " * 7, "NOT    ")
    lines += _open(document["fault"])
    return lines


def _open(fault: Json | None) -> list[str]:
    # What does not apply is no open question, nor what lies where a jump could not go.
    if fault is None or is_check(fault):
        return []
    absent = fault.get("absent") or {}
    for key in ("expression", "null_or_bad", "instruction"):
        is_target = key == "instruction" and fault["access"] == "exec"
        if key in fault["why"] and absent.get(key) != "not-applicable" and not is_target:
            return wrap(fault["why"][key], WIDTH, " " * 7, "OPEN   ")
    return []


def _from_fault(fault: Json | None, brief: bool) -> list[str]:
    if fault is None:
        return []
    found = []
    link = bad_link(fault)
    if link and link["now"] is not None and link["now"] != link["value"]:
        found.append(
            f"{link['expression']}: {bare(link['value'])} then, {bare(link['now'])} now: another"
            " CPU wrote it between fault and dump ~"
        )
    found += held_by(fault)
    said = fault["diagnosis"]["kind"] == "null" or is_check(fault) or is_division(fault)
    if not said and fault["expression"]:
        rests_on = [] if brief else evidence(fault)
        found.append("\n".join([fault["diagnosis"]["statement"], *rests_on]))
    if fault["alternatives"]:
        found.append("the expression may also be " + "; ".join(fault["alternatives"]))
    return found


def _from_sections(facts: Json) -> list[str]:
    section = facts.get("stands_out")
    return [
        one["statement"] + ("" if one["certainty"] == "proved" else " ~")
        for one in (section["found"] if section else ())
    ]


def _from_frames(document: Json) -> list[str]:
    conflicts = [
        f"{frame['function']}: {argument['name']}: {argument['conflict']}"
        for frame in document["frames"]
        for argument in frame["arguments"]
        if argument["conflict"]
    ]
    return conflicts[:4]


def _from_panic(document: Json) -> list[str]:
    found = []
    outside = [_OUTSIDE[t] for t in document["target"]["taint"] or () if t in _OUTSIDE]
    if outside and not document["panic"]["facts"].get("outsiders"):
        found.append(f"third-party code is loaded ({', '.join(outside)} module)")
    earlier = document["panic"]["earlier"]
    if earlier:
        found.append(f"{_reports(earlier)} before it in the log: {earlier[0]['title']}")
    later = document["panic"]["later"]
    if later and document["target"]["format"] == "text":
        found.append(f"{_reports(later)} after it in the log: {later[0]['title']}")
    return found


def _reports(reports: list[Json]) -> str:
    return f"{len(reports)} report{'s' * (len(reports) > 1)}"


def _excluded(fault: Json | None) -> list[str]:
    if fault is None:
        return []
    found = []
    link = bad_link(fault)
    then, now = (link["value"], link["now"]) if link else (None, None)
    if then is not None and now is not None:
        bits = (int(then, 16) ^ int(now, 16)).bit_count()
        if bits > 1:
            found.append(f"one flipped bit ({bits} bits differ)")
    if then not in (None, "0x0") and fault["diagnosis"]["kind"] in _NO_POISON:
        found.append("a poison value (POISON_FREE, LIST_POISON1 and their like)")
    return found


def collect_lines(document: Json) -> list[str]:
    """What to collect where there is only text."""
    lines: list[str] = []
    for words in document["collect"]:
        lines += wrap(words, WIDTH, " " * 11, " " * 11 if lines else "COLLECT    ")
    return lines


def printed_code(document: Json) -> list[str]:
    """The instructions around the trapping one, from the bytes that the kernel printed."""
    code: list[Json] = document["panic"]["code"] or []
    at = next((n for n, one in enumerate(code) if one["trapping"]), None)
    if at is None:
        return []
    lines = ["CODE   as the kernel printed it, where its bytes are certain"]
    shown = code[max(0, at - _BEFORE) : at + _AFTER + 1]
    while shown[-1]["instruction"] == "int3" and not shown[-1]["trapping"]:
        shown.pop()  # what fills the room behind a function
    for one in shown:
        place = "" if one["offset"] is None else f"+{one['offset']:#x}"
        mark = "  <-- trapping" if one["trapping"] else ""
        lines.append(f"  {place:>7}  {one['instruction']}{mark}".rstrip())
    return lines


def next_lines(document: Json) -> list[str]:
    """Commands for crash that look at what the report could not settle."""
    if document["target"]["format"] == "text":
        return []
    fault = document["fault"]
    commands = []
    for ctype, value in _readable(fault) if fault else ():
        if ctype.startswith("struct ") and ctype.endswith("*"):
            commands += [f"{ctype.rstrip(' *')} {bare(value)}", f"kmem {bare(value)}"]
            break
    else:
        commands += _where_it_was(fault)
    commands.append("bt -a" if fault else "bt; log")
    if fault and fault["symbol"]:
        commands.append(f"dis -l {fault['symbol']}")
    return wrap("; ".join(commands), WIDTH, " " * 14, "NEXT   crash> ")


def _readable(fault: Json) -> Iterator[tuple[str, str]]:
    # The values on the way that crash can read: what was bad is not, nor what is no kernel
    # address (e.g. the offset of a per-CPU variable) or an error number.
    bad = bad_link(fault)
    unread = None if bad is None else bad["value"]
    for link in fault["chain"]:
        value = link["value"]
        if value not in (None, unread) and _LOWEST <= int(value, 16) < _ERRORS:
            yield link["ctype"] or "", value


def _where_it_was(fault: Json | None) -> list[str]:
    # Where the bad value was read from, or what it was before a bit of it changed.
    details = fault["diagnosis"]["details"] if fault else {}
    if value := details.get("read_from"):
        return [f"rd {bare(value)}", f"kmem {bare(value)}"]
    return [f"kmem {bare(details['good'])}"] if details.get("good") else []


def search_line(document: Json) -> list[str]:
    """Names to search for: the faulting function and its callers."""
    frames = [f for f in document["frames"] if not f["inlined"] and f["function"]]
    frames = [frame for frame in frames if frame["how"] != PRINTED_UNSURE]
    start = next((n for n, frame in enumerate(frames) if frame["interrupted"]), None)
    if start is None:
        return []
    names = [frame["function"] for frame in frames[start : start + _SEARCHED]]
    return wrap(" ".join(names), WIDTH, " " * 7, "SEARCH ")
