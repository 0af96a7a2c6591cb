"""Building blocks of a JSON document: unknown values and their reasons, addresses."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address

T = TypeVar("T")
Json = dict[str, Any]

MAX_ITEMS = 256
"""Items of one sequence among an object's facts that are kept."""


_EXACT = 1 << 53
# Numbers from here on lose digits in readers of JSON that take them for doubles (RFC 8259, 6):
# poison, canaries and other bad pointers among them.


def address(value: int) -> str:
    """Write an address or register value as the documents do: ``0x…``."""
    return f"{value & (1 << 64) - 1:#x}"


class Part:
    """One object of a document; a key without a value carries its reason in ``absent``."""

    def __init__(self, absent: Mapping[str, Reason] | None = None) -> None:
        self._values: Json = {}
        self._absent: dict[str, str] = {}
        self._given = dict(absent or {})

    def put(self, key: str, value: Any, reason: Reason = Reason.NOT_APPLICABLE) -> None:  # noqa: ANN401
        """Set a key; None is recorded with the reason the source gave, else ``reason``."""
        self._values[key] = value
        if value is None:
            self._absent[key] = self._given.get(key, reason).value

    def put_address(
        self, key: str, value: int | None, reason: Reason = Reason.NOT_APPLICABLE
    ) -> None:
        """Set a key to an address."""
        self.put(key, None if value is None else address(value), reason)

    def put_plain(self, key: str, value: Any) -> None:  # noqa: ANN401
        """Set a key that may be null without a reason (``module``, ``conflict``, …)."""
        self._values[key] = value

    def done(self) -> Json:
        """Return the object."""
        if self._absent:
            return {**self._values, "absent": self._absent}
        return self._values


def had(get: Callable[[], T]) -> tuple[T | None, Reason]:
    """Ask for a value that may be unavailable.

    :returns: the value or None, and the reason for None
    """
    try:
        return get(), Reason.NOT_APPLICABLE
    except Unavailable as missing:
        return None, missing.reason


def facts(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Turn decoded facts into JSON: kernel addresses as ``0x…``, enums by value.

    A field that is None keeps its reason from the ``absent`` mapping of its object.
    """
    if isinstance(value, enum.Enum):
        return facts(value.value)
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return address(value) if is_kernel_address(value) or value >= _EXACT else value
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return facts({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, Sequence | frozenset | set):
        items = sorted(value, key=str) if isinstance(value, frozenset | set) else value
        return [facts(item) for item in list(items)[:MAX_ITEMS]]
    return str(value)


def _mapping(value: Mapping[Any, Any]) -> Json:
    given = value.get("absent")
    reasons = given if isinstance(given, Mapping) else {}
    part = Part()
    for key, item in value.items():
        if key == "absent" and isinstance(given, Mapping):
            continue
        reason = reasons.get(key, Reason.NOT_APPLICABLE)
        part.put(str(key), facts(item), reason if isinstance(reason, Reason) else _reason(reason))
    return part.done()


def _reason(text: object) -> Reason:
    if isinstance(text, Unavailable):
        return text.reason
    try:
        return Reason(text)
    except ValueError:
        return Reason.NOT_APPLICABLE
