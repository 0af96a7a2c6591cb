"""What is taken of one dump to be compared: amounts by key, and what could not be read."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property

from crashkit.crash import Crash
from crashkit.errors import Unavailable
from crashkit.value import facts

Number = int | Unavailable
"""A number, or why it is not known."""

COUNT, BYTES, ROOM = "count", "bytes", "room"
"""The quantities an amount can have: things, the bytes they take, things there is room for."""


@facts
class Amount:
    """One thing that is measured: a cache, a state of tasks, a counter."""

    key: str
    """The same in both dumps; escaped."""
    name: str
    """For a person; escaped."""
    numbers: Mapping[str, Number]
    """By quantity; a quantity that the thing does not have is left out."""
    aliases: tuple[str, ...] = ()
    """Other things that are counted with it; escaped."""


@facts
class Listing:
    """The amounts of one part of a dump."""

    amounts: tuple[Amount, ...]
    incomplete: Unavailable | None = None
    """There are amounts that could not be read, or there may be."""
    at_least: bool = False
    """The walk broke off, so each number is a lower bound."""
    merged: Mapping[str, str] = field(default_factory=dict)
    """Key of a thing that is not counted by itself to the one it is counted with."""

    def find(self, key: str) -> Amount | None:
        """The amount of a key."""
        return self._by_key.get(key)

    @cached_property
    def _by_key(self) -> Mapping[str, Amount]:
        return {one.key: one for one in self.amounts}


class Nature(enum.Enum):
    """What a number of a part is."""

    LEVEL = "level"
    """What there is now."""
    SINCE_BOOT = "since-boot"
    """What happened since the kernel was booted."""
    SETTING = "setting"
    """What somebody set."""


class Missing(enum.Enum):
    """What it means that a listing lacks a key which the other dump's has."""

    NONE = "none"
    """There is none of it: 0."""
    NONE_IN_ONE_BUILD = "none-in-one-build"
    """0 if both kernels are the same build; another kernel may not count it."""
    UNKNOWN = "unknown"
    """Nothing follows from it."""


@facts
class Part:
    """One part of a comparison, and how it is read."""

    key: str
    title: str
    noun: str
    """What is counted, in the plural; empty where each row's name says it."""
    read: Callable[[Crash], Listing]
    nature: Nature = Nature.LEVEL
    missing: Missing = Missing.NONE
    label: str = "{}"
    """How a row is called away from its part."""


def count(key: str, name: str, number: Number) -> Amount:
    """Make an amount of things."""
    return Amount(key=key, name=name, numbers={COUNT: number})


def pages(key: str, name: str, number: Number) -> Amount:
    """Make an amount of memory.

    :param number: pages of 4096 bytes
    """
    size = number if isinstance(number, Unavailable) else number * PAGE
    return Amount(key=key, name=name, numbers={BYTES: size})


PAGE = 4096
