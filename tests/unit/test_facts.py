"""``facts``: a frozen dataclass in everything that can be asked of one."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace

import pytest

from crashkit.value import facts


@facts
class Ours:
    """Made by facts."""

    number: int
    text: str = "none"
    hidden: bytes = field(default=b"", repr=False)
    many: list[int] = field(default_factory=list)

    @property
    def double(self) -> int:
        """Twice the number."""
        return 2 * self.number


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """The same by the library's own decorator."""

    number: int
    text: str = "none"
    hidden: bytes = field(default=b"", repr=False)
    many: list[int] = field(default_factory=list)


@facts
class Tag:
    """Hashable."""

    name: str


@facts
class Longer(Tag):
    """One field more."""

    size: int = 1


def test_it_is_a_dataclass_with_the_same_fields() -> None:
    assert [one.name for one in fields(Ours)] == [one.name for one in fields(Theirs)]
    assert asdict(Ours(number=1, many=[2])) == asdict(Theirs(number=1, many=[2]))
    assert repr(Ours(number=1)) == repr(Theirs(number=1)).replace("Theirs", "Ours")
    assert Ours(number=2).double == 4


def test_the_library_knows_it() -> None:
    assert is_dataclass(Ours)


def test_defaults_are_each_ones_own() -> None:
    first, second = Ours(number=1), Ours(number=1)
    first.many.append(3)
    assert (first.many, second.many, second.text) == ([3], [], "none")


@pytest.mark.parametrize("given", [{}, {"text": "x"}, {"number": 1, "other": 2}, {"other": 2}])
def test_wrong_arguments_are_refused_as_a_dataclass_does(given: dict[str, object]) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError, match=r"__init__\(\)"):
            kind(**given)  # type: ignore[arg-type]
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(1)  # type: ignore[call-arg]


def test_nothing_can_be_changed() -> None:
    one = Ours(number=1)
    with pytest.raises(FrozenInstanceError):
        one.number = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        one.other = 2  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        del one.number
    assert one.number == 1


def test_equal_if_of_one_class_and_all_fields_are() -> None:
    assert Ours(number=1) == Ours(number=1)
    assert Ours(number=1) != Ours(number=1, hidden=b"x")
    other: object = Theirs(number=1)
    assert Ours(number=1) != other
    assert Tag(name="a") != Longer(name="a")
    assert len({Tag(name="a"), Tag(name="a"), Tag(name="b")}) == 2
    assert hash(Longer(name="a", size=2)) == hash(Longer(name="a", size=2))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours(number=1))


def test_copies() -> None:
    one = Ours(number=1, many=[1])
    assert replace(one, number=2) == Ours(number=2, many=[1])
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(Tag(name="a"))) == Tag(name="a")


def test_an_inherited_field_comes_first() -> None:
    assert repr(Longer(name="a")) == "Longer(name='a', size=1)"
