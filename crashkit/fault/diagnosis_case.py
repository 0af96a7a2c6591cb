"""One bad value while it is looked into."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from drgn import Program

from crashkit.decode.address import classify_address
from crashkit.decode.address_facts import AddressFacts
from crashkit.fault.diagnosis import BadValue
from crashkit.fault.model import Diagnosis, Link, OriginStep


@dataclass(kw_only=True)
class Case:
    """A bad value, and what was found out about it.

    :ivar evidence: sentences so far
    :ivar details: the same for programs; addresses as ``0x`` text
    """

    prog: Program
    bad: BadValue
    kind: str
    """What it is by its value alone."""
    access: str | None
    """``read``, ``write`` or ``exec``."""
    chain: tuple[Link, ...]
    """The values on the way to the bad one, which is last."""
    origins: tuple[OriginStep, ...] = ()
    """Where callers had the chain's first value from."""
    evidence: list[str] = field(default_factory=list)
    details: dict[str, int | str | None] = field(default_factory=dict)

    def says(self, *sentences: str | None) -> None:
        """Keep sentences of evidence, each once."""
        for sentence in sentences:
            if sentence is not None and sentence not in self.evidence:
                self.evidence.append(sentence)

    def is_(self, kind: str, what: str) -> Diagnosis:
        """Make a diagnosis whose statement begins with the value."""
        return Diagnosis(kind=kind, statement=f"{self.shown}: {what}")

    @property
    def shown(self) -> str:
        """Name and value, as a statement begins."""
        return f"{self.bad.name} was {self.bad.value:#x}"

    @property
    def place(self) -> int | None:
        """Where the value was read from; None: not memory, or not known."""
        last = self.chain[-1] if self.chain else None
        return last.address if last is not None and last.value == self.bad.value else None

    @property
    def ctype(self) -> str | None:
        """C type of the value."""
        return self.chain[-1].ctype if self.chain else None

    @cached_property
    def facts(self) -> AddressFacts:
        """What the value points at."""
        found = classify_address(self.prog, self.bad.value, aliases=False)
        self.details["points_to"] = found.kind
        return found
