"""What changed between two dumps: the document ``crashkit.diff/1``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from crashkit.errors import Reason, Unavailable
from crashkit.report.diff_words import also, grown_words
from crashkit.report.document import build_limits, envelope
from crashkit.report.json_text import report_schema
from crashkit.report.parts import Json, Part
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash

DIFF = "crashkit.diff/1"


def build_diff(first: Crash, second: Crash, difference: Any) -> Json:  # noqa: ANN401
    """Build the document.

    :param difference: what :func:`crashkit.diff.compare` found; its layer is above this one
    """
    order = difference.order
    before, after = (second, first) if order.swapped else (first, second)
    part = Part(_reasons(difference.absent))
    part.put("before", _side(before, "second" if order.swapped else "first"))
    part.put("after", _side(after, "first" if order.swapped else "second"))
    part.put("order", _order(order))
    part.put("warnings", list(difference.warnings))
    part.put("facts", [_fact(fact) for fact in difference.facts])
    modules = difference.modules
    part.put("modules", None if modules is None else _modules(modules))
    part.put("grew", [_grown(one) for one in difference.grew])
    part.put("sections", [_section(section) for section in difference.sections])
    return {**envelope(DIFF), **part.done()}


def diff_lines(document: Json) -> Iterator[str]:
    """Yield the document as JSON Lines: the head, then one line for each row."""
    head = {key: value for key, value in document.items() if key != "sections"}
    yield _line({**head, "kind": "head"})
    for section in document["sections"]:
        about = {key: value for key, value in section.items() if key != "rows"}
        yield _line({"schema": DIFF, "kind": "section", **about})
        for row in section["rows"]:
            yield _line({"schema": DIFF, "kind": "row", "section": section["key"], **row})


def diff_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.diff/1``; its parts are those of the report."""
    text = resources.files("crashkit.report").joinpath("diff_schema.json").read_text("utf-8")
    return {**json.loads(text), "$defs": report_schema()["$defs"]}


def _line(value: Json) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n"


def _reasons(absent: Mapping[str, Unavailable]) -> dict[str, Reason]:
    return {key: why.reason for key, why in absent.items()}


def _why(absent: Mapping[str, Unavailable]) -> Json:
    return {side: {"reason": one.reason.value, "detail": one.detail or one.what}
            for side, one in absent.items()}  # fmt: skip


def _side(crash: Crash, named: str) -> Json:
    return {
        "named": named,
        "target": build_target(crash),
        "warnings": list(crash.warnings),
        "limits": build_limits(crash.limits),
    }


def _order(order: Any) -> Json:  # noqa: ANN401
    part = Part()
    part.put("swapped", order.swapped)
    part.put("taken_first", order.taken_first, Reason.AMBIGUOUS)
    part.put("why", order.why)
    part.put("same_boot", order.same_boot, Reason.AMBIGUOUS)
    part.put("same_boot_why", order.same_boot_why)
    part.put("elapsed_s", order.elapsed_s)
    return part.done()


def _fact(fact: Any) -> Json:  # noqa: ANN401
    part = Part(_reasons(fact.absent))
    part.put("key", fact.key)
    part.put("name", fact.name)
    part.put("before", fact.before)
    part.put("after", fact.after)
    part.put("same", fact.same)
    return part.done()


def _modules(modules: Any) -> Json:  # noqa: ANN401
    return {
        "only_before": list(modules.only_before),
        "only_after": list(modules.only_after),
        "both": modules.both,
    }


def _grown(one: Any) -> Json:  # noqa: ANN401
    row = _row(one.row)
    return {
        "section": one.section,
        "key": one.row.key,
        "name": one.name,
        "by": one.by,
        "before": one.row.numbers[one.by].before,
        "change": one.row.numbers[one.by].change,
        "words": grown_words(one.name + also(row["aliases"]), one.noun, row),
    }


def _section(section: Any) -> Json:  # noqa: ANN401
    return {
        "key": section.key,
        "title": section.title,
        "noun": section.noun,
        "nature": section.nature.value,
        "rows": [_row(row) for row in section.rows],
        "unread": _why(section.unread),
        "incomplete": _why(section.incomplete),
        "at_least": list(section.at_least),
    }


def _row(row: Any) -> Json:  # noqa: ANN401
    part = Part()
    part.put("key", row.key)
    part.put("name", row.name)
    part.put("only", row.only)
    part.put("aliases", list(row.aliases))
    part.put("note", row.note)
    part.put("differs", row.differs)
    part.put("numbers", {name: _change(one) for name, one in row.numbers.items()})
    return part.done()


def _change(change: Any) -> Json:  # noqa: ANN401
    part = Part(_reasons(change.absent))
    part.put("before", change.before)
    part.put("after", change.after)
    part.put("change", change.change)
    part.put("per_second", change.per_second)
    return part.done()
