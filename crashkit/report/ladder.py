"""How far a dump leads: its ladder as a part of a document, and as text where it ends early."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from crashkit.errors import Reason
from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json, Part

_MARKS = {"yes": "+", "partly": "~", "no": "-"}


class Rung(Protocol):
    """What :mod:`crashkit.doctor`, which stands above the reports, says of one rung."""

    @property
    def what(self) -> str:
        """``log``, ``system``, ``stacks`` or ``types``."""

    @property
    def reached(self) -> str:
        """``yes``, ``partly`` or ``no``."""

    @property
    def detail(self) -> str:
        """What was found there, or why nothing was."""

    @property
    def reason(self) -> Reason | None:
        """Why it was not reached, or not wholly."""

    @property
    def remedy(self) -> str:
        """What would lead further."""


def build_ladder(rungs: Iterable[Rung]) -> list[Json]:
    """Build the ``ladder`` of a document."""
    return [_rung(rung) for rung in rungs]


def _rung(rung: Rung) -> Json:
    part = Part()
    for key in ("what", "reached", "detail"):
        part.put(key, getattr(rung, key))
    part.put("reason", rung.reason and rung.reason.value, Reason.NOT_APPLICABLE)
    part.put("remedy", rung.remedy)
    return part.done()


def ladder_block(document: Json) -> list[str]:
    """The block with its heading; nothing where no rung is missing, or there is only text."""
    rungs = document["ladder"]
    ended = any(rung["reached"] == "no" or (rung["what"] == "types" and rung["reached"] != "yes")
                for rung in rungs)  # fmt: skip
    if not ended or document["target"]["format"] == "text":
        return []
    return ["REACHED  + yes   ~ partly   - no", *(line for r in rungs for line in _lines(r))]


def rung_words(rung: Json) -> str:
    """What was found on a rung, and what would lead further."""
    said = rung["reason"] is None or rung["reason"] in rung["detail"]
    why = "" if said else f" ({rung['reason']})"
    remedy = f"; get: {rung['remedy']}" if rung["remedy"] else ""
    return f"{rung['detail']}{why}{remedy}"


def _lines(rung: Json) -> list[str]:
    first = f"     {_MARKS[rung['reached']]} {rung['what']:<8}"
    return wrap(rung_words(rung), WIDTH, " " * 15, first)
