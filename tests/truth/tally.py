"""Rows of a score, counted: how many sites are proved, and how many of those are right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crashkit.value import Certainty

COLUMNS = (
    "set", "sites", "proved (truth)", "inferred (truth)", "none", "drgn", "linear scan",
    "proved, every frame",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """One parameter, or one register at entry, of one frame."""

    dump: str
    kernel: str
    comm: str
    running: bool
    interrupted: bool
    function: str
    offset: int
    parameter: str
    """Its name, or ``%rdi`` for a register whatever it means."""
    pointer: bool
    tier: str
    """``proved``, ``inferred`` or the reason that it is missing."""
    value: int | None
    truth: int | None
    how: str = ""
    drgn: int | None = None
    linear: int | None = None

    @property
    def site(self) -> tuple[str, str, int, str]:
        """What counts once however many frames show it."""
        return self.kernel, self.function, self.offset, self.parameter

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
    linear: Tally
    activations: Tally
    """Proved answers, counted in every frame."""


def score(rows: Iterable[Row]) -> Score:
    """Count distinct sites; one counts as wrong if it is wrong in any frame."""
    sites: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in rows:
        sites.setdefault(row.site, []).append(row)
    proved, inferred, drgn, linear, every = (Tally() for _ in range(5))
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
        if any(row.drgn is not None for row in shown):
            drgn.add(_verdict(row.is_right(row.drgn) for row in shown))
        if any(row.linear is not None for row in shown):
            linear.add(_verdict(row.is_right(row.linear) for row in shown))
    return Score(
        sites=len(sites),
        proved=proved,
        inferred=inferred,
        missing=missing,
        drgn=drgn,
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


def table(rows: Sequence[Row]) -> str:
    """Format the scores of pointers, of all parameters, and of registers at entry."""
    parameters = [row for row in rows if not row.is_register]
    sets = {
        "pointers": [row for row in parameters if row.pointer],
        "all parameters": parameters,
        "interrupted frames": [row for row in parameters if row.interrupted],
        "registers at entry": [row for row in rows if row.is_register],
    }
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, members in sets.items():
        if not members:
            continue
        found = score(members)
        share = 100 * found.proved.total / found.sites
        lines.append(
            f"| {name} | {found.sites} | {share:.1f} %: {found.proved} | {found.inferred} |"
            f" {found.missing} | {found.drgn} | {found.linear} | {found.activations} |"
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
