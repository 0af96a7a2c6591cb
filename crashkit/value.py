"""Value: a number or text read from a dump, with where it came from; and what results are."""

from __future__ import annotations

import dataclasses
import enum
import reprlib
from collections.abc import Callable
from typing import NamedTuple, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,)
)
def facts(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose fields are given by name.

    It is what ``@dataclass(frozen=True, kw_only=True)`` makes, but for its methods, which are
    the same functions for all. ``dataclass`` writes and compiles six for each class: for the
    200 that a triage imports, a seventh of its time. ``__post_init__`` is not called.
    """
    made = dataclasses.dataclass(kw_only=True, init=False, repr=False, eq=False)(cls)
    fields = dataclasses.fields(made)  # type: ignore[arg-type]
    missing = dataclasses.MISSING
    shape = _Shape(
        names=tuple(field.name for field in fields),
        shown=tuple(field.name for field in fields if field.repr),
        required=frozenset(
            field.name
            for field in fields
            if field.default is missing and field.default_factory is missing
        ),
        defaults={field.name: field.default for field in fields if field.default is not missing},
        factories={
            field.name: field.default_factory
            for field in fields
            if field.default_factory is not missing
        },
    )
    methods = {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash}
    frozen = {"__setattr__": _refuse, "__delattr__": _refuse, "__facts__": shape}
    for name, value in {**methods, **frozen}.items():
        if name not in vars(made):
            setattr(made, name, value)
    return made


class _Shape(NamedTuple):
    names: tuple[str, ...]
    shown: tuple[str, ...]
    required: frozenset[str]
    defaults: dict[str, object]
    factories: dict[str, Callable[[], object]]


def _init(self: object, /, **given: object) -> None:
    shape: _Shape = self.__facts__  # type: ignore[attr-defined]
    values = vars(self)
    values.update(shape.defaults)
    for name, make in shape.factories.items():
        if name not in given:
            values[name] = make()
    values.update(given)
    if len(values) != len(shape.names) or not shape.required <= given.keys():
        _complain(self, shape, given)


def _complain(self: object, shape: _Shape, given: dict[str, object]) -> NoReturn:
    strange = [name for name in given if name not in shape.names]
    lost = [name for name in shape.names if name in shape.required and name not in given]
    what = f"unexpected {strange}" if strange else f"missing {lost}"
    raise TypeError(f"{type(self).__qualname__}.__init__() keyword arguments: {what}")


@reprlib.recursive_repr()
def _repr(self: object) -> str:
    shape: _Shape = self.__facts__  # type: ignore[attr-defined]
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in shape.shown)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: object, other: object) -> object:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: object) -> int:
    return hash(_values(self))


def _values(self: object) -> tuple[object, ...]:
    shape: _Shape = self.__facts__  # type: ignore[attr-defined]
    return tuple([getattr(self, name) for name in shape.names])


def _refuse(self: object, name: str, _value: object = None) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"{type(self).__qualname__}.{name} is frozen")


class Origin(enum.Enum):
    """Where a value was taken from."""

    MEMORY = "memory"
    REGISTER = "register"
    CFI = "cfi"
    DWARF = "dwarf"
    CALL_SITE = "call-site"
    ENTRY_VALUE = "entry-value"
    SAVED_REGISTER = "saved-register"
    DATAFLOW = "dataflow"
    TEXT = "text"


class Certainty(enum.Enum):
    """How a value follows from the dump."""

    PROVED = "proved"
    """Follows from the dump's bytes and the ABI."""
    INFERRED = "inferred"
    """Anything weaker; the text report marks it with ``~``."""


@facts
class Reread:
    """How a person reads a value again."""

    crash: str | None = None
    """A command for the ``crash>`` prompt."""
    crashkit: str | None = None
    """An expression for ``crashkit shell``, with ``prog`` and ``crash`` in scope."""


@facts
class Value:
    """A named number or text with its origin and certainty."""

    name: str
    """What it is, in the kernel's words, e.g. ``ct->ct_net``."""
    value: int | str
    """The number (unsigned) or the text."""
    origin: Origin
    """Where it was taken from."""
    certainty: Certainty = Certainty.PROVED
    """Whether it follows from the dump and the ABI."""
    ctype: str | None = None
    """The C type, e.g. ``struct net *``; None for text."""
    address: int | None = None
    """Where in memory it was read; None for registers and text."""
    identity: str | None = None
    """What a pointer points at: ``init_net``, ``slab object nf_conntrack``."""
    corroborated_by: tuple[Origin, ...] = ()
    """Other origins that independently gave the same value."""
    reread: Reread | None = None
    """How to read it again; None for text input."""
