"""Rows of a score, counted: how many sites are proved, and how many of those are right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crashkit.value import Certainty

COLUMNS = (
    "set", "sites", "proved (truth)", "inferred (truth)", "none", "drgn", "entry values",
    "linear scan", "proved, every frame",
)  # fmt: skip


SK_BUFF = re.compile(r"(const )?struct sk_buff \*$")
CLONE = re.compile(r"\.(isra|constprop|part)\b")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One parameter, or one register at entry, of one frame."""

    dump: str
    kernel: str
    types: str = ""
    """Where names and types came from, as ``Crash.types``."""
    comm: str
    running: bool
    interrupted: bool
    function: str
    offset: int
    parameter: str
    """Its name, or ``%rdi`` for a register whatever it means."""
    ctype: str = ""
    pointer: bool
    on_stack: bool = False
    """It is passed on the stack."""
    tier: str
    """``proved``, ``inferred`` or the reason that it is missing."""
    value: int | None
    truth: int | None
    how: str = ""
    drgn: int | None = None
    entry: int | None = None
    linear: int | None = None

    @property
    def site(self) -> tuple[str, str, int, str]:
        """What counts once however many frames show it."""
        return self.kernel, self.function, self.offset, self.parameter

    @property
    def is_clone(self) -> bool:
        """Whether the compiler changed what the function takes."""
        return CLONE.search(self.function) is not None

    @property
    def is_register(self) -> bool:
        """Whether it is a register rather than a parameter."""
        return self.parameter.startswith("%")

    def is_right(self, value: int | None) -> bool | None:
        """Whether ``value`` is what was passed; None if nothing says."""
        return None if value is None or self.truth is None else value == self.truth


@dataclass
class Tally:
    """Counts of one column of the table."""

    right: int = 0
    wrong: int = 0
    unchecked: int = 0

    def add(self, verdict: bool | None) -> None:
        """Count one answer."""
        if verdict is None:
            self.unchecked += 1
        elif verdict:
            self.right += 1
        else:
            self.wrong += 1

    @property
    def total(self) -> int:
        """All answers."""
        return self.right + self.wrong + self.unchecked

    def __str__(self) -> str:
        return f"{self.total} ({self.right} right, {self.wrong} wrong)"


@dataclass(frozen=True, kw_only=True)
class Score:
    """The table's row for one set of parameters."""

    sites: int
    proved: Tally
    inferred: Tally
    missing: int
    drgn: Tally
    entry: Tally
    linear: Tally
    activations: Tally
    """Proved answers, counted in every frame."""


def _by_drgn(row: Row) -> int | None:
    return row.drgn


def _by_entry(row: Row) -> int | None:
    return row.entry


def _by_scan(row: Row) -> int | None:
    return row.linear


def score(rows: Iterable[Row]) -> Score:
    """Count distinct sites; one counts as wrong if it is wrong in any frame."""
    sites: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in rows:
        sites.setdefault(row.site, []).append(row)
    proved, inferred, drgn, entry, linear, every = (Tally() for _ in range(6))
    missing = 0
    for shown in sites.values():
        best = _tier(shown)
        for tally, tier in ((proved, Certainty.PROVED.value), (inferred, Certainty.INFERRED.value)):
            if best == tier:
                tally.add(_verdict(row.is_right(row.value) for row in shown if row.tier == tier))
        missing += best == ""
        for row in shown:
            if row.tier == Certainty.PROVED.value:
                every.add(row.is_right(row.value))
        for tally, read in ((drgn, _by_drgn), (entry, _by_entry), (linear, _by_scan)):
            answered = [row for row in shown if read(row) is not None]
            if answered:
                tally.add(_verdict(row.is_right(read(row)) for row in answered))
    return Score(
        sites=len(sites),
        proved=proved,
        inferred=inferred,
        missing=missing,
        drgn=drgn,
        entry=entry,
        linear=linear,
        activations=every,
    )


# A site is only as good as its worst frame.
def _tier(rows: Sequence[Row]) -> str:
    tiers = {row.tier for row in rows}
    if tiers == {Certainty.PROVED.value}:
        return Certainty.PROVED.value
    known = {Certainty.PROVED.value, Certainty.INFERRED.value}
    return Certainty.INFERRED.value if tiers <= known else ""


def _verdict(verdicts: Iterable[bool | None]) -> bool | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return all(known) if known else None


def wrong_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that were called proved and are not what was passed."""
    proved = (row for row in rows if row.tier == Certainty.PROVED.value)
    return [row for row in proved if row.is_right(row.value) is False]


def sets_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Sort rows into the sets that the table has a line for."""
    parameters = [row for row in rows if not row.is_register]
    return {
        "pointers": [row for row in parameters if row.pointer],
        "all parameters": parameters,
        "sk_buff parameters": [row for row in parameters if SK_BUFF.match(row.ctype)],
        "on the stack": [row for row in parameters if row.on_stack],
        "of clones": [row for row in parameters if row.is_clone],
        "interrupted frames": [row for row in parameters if row.interrupted],
        "running tasks": [row for row in parameters if row.running],
        "registers at entry": [row for row in rows if row.is_register],
    }


def table(rows: Sequence[Row]) -> str:
    """Format the scores as a table of Markdown, a line for each set."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    for name, members in sets_of(rows).items():
        if members:
            lines.append(_line(name, score(members)))
    return "\n".join(lines)


def _line(name: str, found: Score) -> str:
    share = 100 * found.proved.total / found.sites
    return (
        f"| {name} | {found.sites} | {share:.1f} %: {found.proved} | {found.inferred} |"
        f" {found.missing} | {found.drgn} | {found.entry} | {found.linear} |"
        f" {found.activations} |"
    )


def tables(rows: Sequence[Row]) -> str:
    """Format a table for each kernel and each source of names and types."""
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        parts.setdefault((row.kernel, row.types), []).append(row)
    return "\n\n".join(
        f"### {kernel}, {types or 'types not noted'}: {len({row.dump for row in members})} dumps"
        f"\n\n{table(members)}"
        for (kernel, types), members in sorted(parts.items())
    )


def totals(rows: Sequence[Row]) -> str:
    """Say in a sentence for each source of names what was checked on all kernels together."""
    lines = []
    for types in sorted({row.types for row in rows}):
        members = [row for row in rows if row.types == types and not row.is_register]
        found = score(members)
        checked = found.activations.right + found.activations.wrong
        lines.append(
            f"With {types or '?'}: {found.proved.right + found.proved.wrong} sites with a proved"
            f" value and a truth, {found.proved.wrong} of them wrong;"
            f" {checked} such values in all frames, {found.activations.wrong} of them wrong."
        )
    return "\n".join(lines)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file of JSON lines."""
    with path.open() as file:
        for line in file:
            yield Row(**json.loads(line))


def describe(row: Row) -> str:
    """Say what is wrong with a row."""
    value, truth = (f"{number:#x}" for number in (row.value or 0, row.truth or 0))
    return (
        f"{row.dump}: {row.comm}: {row.function}+{row.offset:#x} {row.parameter}"
        f" = {value}, but {truth} was passed; proof: {row.how}"
    )
