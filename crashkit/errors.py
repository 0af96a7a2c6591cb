"""Errors and the reasons for which a value cannot be had.

Every error is a sentence for a person: it names the file or symbol and the next
step. The command line maps each class to one exit code (``architecture.md`` §4).
"""

from __future__ import annotations

import enum
import re


class Reason(enum.Enum):
    """Why a value cannot be had."""

    NOT_IN_DUMP = "not-in-dump"
    """The page was filtered, truncated or never dumped."""
    NOT_SAVED = "not-saved"
    """No frame saved the register that held it."""
    OPTIMIZED_OUT = "optimized-out"
    """The compiler kept no copy at this instruction."""
    NO_DEBUGINFO = "no-debuginfo"
    """No type, symbol or unwind information describes it."""
    CORRUPTED = "corrupted"
    """The bytes are there and cannot be what they should be."""
    AMBIGUOUS = "ambiguous"
    """Several answers fit and nothing in the dump decides."""
    NOT_APPLICABLE = "not-applicable"
    """The question makes no sense for this crash."""
    UNSUPPORTED = "unsupported"
    """crashkit cannot do this yet."""
    BUDGET = "budget"
    """A bound on work was reached before the answer."""


class CrashkitError(Exception):
    """Base of every error crashkit raises on purpose; the message is one sentence."""

    exit_code = 1


class UsageError(CrashkitError):
    """The call cannot be right whatever the dump holds (exit code 2)."""

    exit_code = 2


class TargetError(CrashkitError):
    """The dump cannot be opened (exit code 3)."""

    exit_code = 3


class SymbolsError(CrashkitError):
    """Names or types are missing or belong to another build (exit code 4)."""

    exit_code = 4


class RecipeError(CrashkitError):
    """A recipe is broken: syntax, missing part or its own exception (exit code 1)."""


class Unavailable(CrashkitError):  # noqa: N818 - a vocabulary word of the project, not a failure
    """A value cannot be had; says what, why and in one phrase the detail.

    :ivar what: the value that was wanted, as a person names it
    :ivar reason: the class of reason
    :ivar detail: what was seen; may be empty
    """

    def __init__(self, what: str, reason: Reason, detail: str = "") -> None:
        self.what = what
        self.reason = reason
        self.detail = detail
        super().__init__(f"{what}: {reason.value}" + (f" ({detail})" if detail else ""))


_SENTENCE = re.compile(
    rf"(?P<what>.*?): (?P<reason>{'|'.join(reason.value for reason in Reason)})"
    r"(?: \((?P<detail>.*)\))?",
    re.DOTALL,
)
_TELLING = (Reason.AMBIGUOUS.value, Reason.NOT_APPLICABLE.value)
_LONGEST_DETAIL = 60


def in_brief(sentence: str) -> str:
    """Shorten the sentence of an :class:`Unavailable`: what is missing, and why.

    The detail goes, unless the reason alone tells nobody anything: ``owner: a semaphore
    keeps no owner``.
    """
    found = _SENTENCE.fullmatch(sentence)
    if found is None:
        return sentence
    what, reason, detail = found["what"], found["reason"], found["detail"]
    if detail and reason in _TELLING and len(detail) <= _LONGEST_DETAIL:
        return f"{what}: {detail}"
    return f"{what}: {reason}"
