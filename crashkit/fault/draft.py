"""A fault's explanation while it is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drgn import Program

from crashkit.dataflow import Term
from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.fault.chain import Identify
from crashkit.fault.diagnosis import BadValue, diagnose
from crashkit.fault.diagnosis_memory import diagnose_in_memory
from crashkit.fault.model import (
    Alternative,
    Condition,
    Diagnosis,
    Fault,
    Link,
    OriginStep,
    Step,
)
from crashkit.fault.reading import Reading
from crashkit.symbols import SymbolAt
from crashkit.unwind import Frame
from crashkit.value import Certainty

EXPRESSION = ("expression", "null_or_bad")
UNEXPLAINED = ("access", "bad_register", *EXPRESSION, "memory_disagrees")


@dataclass(kw_only=True)
class Draft:
    """What is missing stays None, with its reason."""

    prog: Program
    frame: Frame
    function: SymbolAt | None
    registers: Mapping[str, int]
    reported: int | None
    five_level: bool | None
    identify: Identify
    instruction: Instruction | None = None
    access: str | None = None
    address: int | None = None
    bad_register: str | None = None
    expressions: tuple[Reading, ...] = ()
    text: str | None = None
    """The expression, where it is not a reading."""
    bad: Reading | None = None
    certainty: Certainty = Certainty.INFERRED
    diagnosis: Diagnosis = Diagnosis(kind="other", statement="")  # noqa: RUF009 - frozen
    bad_value: BadValue | None = None
    chain: tuple[Link, ...] = ()
    steps: tuple[Step, ...] = ()
    one_of: tuple[Alternative, ...] = ()
    origins: tuple[OriginStep, ...] = ()
    condition: Condition | None = None
    progress: str | None = None
    called_from: str | None = None
    conflict: str | None = None
    pointer: Term | None = None
    """What the access went through."""
    at_target: bool = False
    """The instruction pointer is the target of the jump that failed."""
    missing: dict[str, Unavailable] = field(default_factory=dict)

    def lacks(self, missing: Unavailable, *keys: str) -> None:
        """Note why keys have no value; the first reason stays."""
        for key in keys:
            self.missing.setdefault(key, missing)

    def diagnose(self, name: str, value: int, addend: int = 0, made: str | None = None) -> None:
        """Say what a bad value is.

        :param addend: what was added to it before it was used
        :param made: see :class:`BadValue`; what was known of the same value stays
        """
        before = self.bad_value
        if made is None and before is not None and before.value == value:
            made = before.made
        self.bad_value = BadValue(
            name=name,
            value=value,
            addend=addend,
            made=made,
            faulted_at=self.reported,
            five_level=self.five_level,
        )
        self.diagnosis = diagnose(self.bad_value)

    def finish(self) -> Fault:
        """Make the explanation of what was found."""
        if self.bad_value is not None:
            self.diagnosis = diagnose_in_memory(
                self.prog, self.diagnosis, self.bad_value,
                access=self.access, chain=self.chain, origins=self.origins,
            )  # fmt: skip
        return _finished(self)


def _finished(draft: Draft) -> Fault:
    frame, function = draft.frame, draft.function
    texts = [reading.text for reading in draft.expressions]
    expression = draft.text or (texts[0] if texts else None)
    known = {
        "instruction": draft.instruction.text if draft.instruction else None,
        "access": draft.access,
        "address": draft.address,
        "bad_register": draft.bad_register,
        "expression": expression,
        "null_or_bad": draft.bad.text if draft.bad else None,
        "memory_disagrees": _memory_disagrees(draft),
        "symbol": function.name if function else None,
    }
    missing = {key: _reason(draft, key) for key, value in known.items() if value is None}
    return Fault(
        ip=frame.pc,
        symbol=function.name if function else None,
        offset=frame.pc - function.address if function else None,
        size=function.size if function else None,
        module=function.module if function else frame.module,
        source=frame.source,
        instruction=draft.instruction.text if draft.instruction else None,
        access=draft.access,
        address=draft.address,
        bad_register=draft.bad_register,
        expression=expression,
        null_or_bad=draft.bad.text if draft.bad else None,
        alternatives=tuple(text for text in dict.fromkeys(texts) if text != expression),
        certainty=draft.certainty,
        diagnosis=draft.diagnosis,
        chain=draft.chain,
        steps=draft.steps,
        memory_disagrees=_memory_disagrees(draft),
        registers=draft.registers,
        conflict=draft.conflict,
        absent={key: reason for key, (reason, _) in missing.items()},
        why={key: sentence for key, (_, sentence) in missing.items()},
        one_of=draft.one_of,
        origins=draft.origins,
        condition=draft.condition,
        progress=draft.progress,
        called_from=draft.called_from,
    )


def _memory_disagrees(draft: Draft) -> bool | None:
    answers = [link.disagrees for link in draft.chain if link.disagrees is not None]
    return any(answers) if answers else None


def _reason(draft: Draft, key: str) -> tuple[Reason, str]:
    missing = draft.missing.get(key)
    if missing is not None:
        return missing.reason, str(missing)
    if key == "memory_disagrees" and draft.chain:
        reason = draft.chain[-1].absent.get("now", Reason.NOT_APPLICABLE)
        return reason, "the memory the value was read from cannot be read again"
    return Reason.NOT_APPLICABLE, "nothing in this fault gives it"
