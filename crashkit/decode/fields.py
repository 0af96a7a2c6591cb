"""Members of kernel objects read one by one, each with the reason it could not be.

A decoder's result holds None for a member that could not be had and names the
reason under the member's name in ``absent``. Layout differences between kernels are
settled by asking a type for its members, newest kernel first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from drgn import FaultError, Object, ObjectAbsentError, ObjectNotFoundError, Program, Type, TypeKind
from drgn.helpers.common.format import escape_ascii_string

from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address

T = TypeVar("T")

Absent = Mapping[str, Unavailable]
"""Name of a field that is None to the reason."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Turn drgn's errors about memory, types and names into a reason for ``what``.

    :raises Unavailable: the page is missing, or no type or symbol is known
    """
    try:
        yield
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except ObjectNotFoundError as unknown:
        raise Unavailable(what, Reason.NO_DEBUGINFO, f"no symbol {unknown.name}") from unknown
    except ObjectAbsentError as absent:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(absent)) from absent
    except (KeyError, IndexError):
        raise
    except LookupError as unknown:  # drgn: no such type or member
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    except AttributeError as unknown:
        if not isinstance(unknown.obj, Object):
            raise
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown


class Fields:
    """Takes the fields of one object and keeps why one could not be had.

    :ivar what: the object, as a person names it
    :ivar absent: reasons so far, by field
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.absent: dict[str, Unavailable] = {}
        self._taken = 0

    def take(self, key: str, read: Callable[[], T]) -> T | None:
        """Read one field; None, with the reason kept, when it cannot be had."""
        try:
            with naming(f"{key} of {self.what}"):
                value = read()
        except Unavailable as missing:
            self.absent[key] = missing
            return None
        self._taken += 1
        return value

    def number(self, key: str, obj: Object, *names: str) -> int | None:
        """Read the first of ``names`` that ``obj``'s type has, as the C type says its sign."""
        return self.take(key, lambda: int(member(obj, *names).value_()))

    def reasons(self) -> Absent:
        """Give the reasons collected.

        :raises Unavailable: not one field could be read
        """
        if not self._taken and self.absent:
            first = next(iter(self.absent.values()))
            raise Unavailable(self.what, first.reason, first.detail)
        return self.absent


def pointer(obj: Object, what: str) -> int:
    """Give the address an object stands for: a pointer's value, or where a struct lies.

    :param obj: ``T *`` or a ``T`` in memory
    :raises Unavailable: reason ``corrupted`` when it is not in the kernel half
    """
    with naming(what):
        address = _address(obj)
    if not is_kernel_address(address):
        raise Unavailable(what, Reason.CORRUPTED, f"{address:#x} is not a kernel address")
    return address


def _address(obj: Object) -> int:
    if resolve(obj.type_).kind is TypeKind.POINTER:
        return int(obj.value_())
    return 0 if obj.address_ is None else obj.address_


def resolve(type_: Type) -> Type:
    """Strip typedefs from a type."""
    while type_.kind is TypeKind.TYPEDEF:
        type_ = type_.type
    return type_


def has_member(obj: Object, name: str) -> bool:
    """Whether the struct or union that ``obj`` is or points to has a member ``name``.

    :raises Unavailable: the type is only declared, its members are unknown
    """
    type_ = resolve(obj.type_)
    if type_.kind is TypeKind.POINTER:
        type_ = resolve(type_.type)
    if type_.kind not in (TypeKind.STRUCT, TypeKind.UNION, TypeKind.CLASS):
        return False
    if not type_.is_complete():
        raise Unavailable(name, Reason.NO_DEBUGINFO, f"{type_.type_name()} is only declared")
    return bool(type_.has_member(name))


def member(obj: Object, *names: str) -> Object:
    """Give the first member of ``names`` that the type of ``obj`` has.

    :raises Unavailable: it has none of them
    """
    for name in names:
        if has_member(obj, name):
            return obj.member_(name)
    raise Unavailable(
        " or ".join(names), Reason.NOT_APPLICABLE, f"not in this kernel's {obj.type_.type_name()}"
    )


def counter(obj: Object) -> int:
    """Read a count, signed as C has it.

    :param obj: ``atomic_t``, ``atomic64_t``, ``refcount_t``, ``struct kref`` or an integer
    """
    for wrapper in ("refcount", "refs", "counter"):
        if has_member(obj, wrapper):
            obj = obj.member_(wrapper)
    return int(obj.value_())


def net_pointer(obj: Object) -> int:
    """Read the address of a network namespace.

    :param obj: ``possible_net_t``, or ``struct net *`` before Linux kernel commit
        0c5c9fb55106 ("net: Introduce possible_net_t") (in v4.1)
    :raises Unavailable: the kernel has no network namespaces (an empty ``possible_net_t``)
    """
    if resolve(obj.type_).kind is TypeKind.POINTER:
        return int(obj.value_())
    if not has_member(obj, "net"):
        raise Unavailable("net", Reason.NOT_APPLICABLE, "kernel without network namespaces")
    return int(obj.member_("net").value_())


def big_endian(obj: Object) -> int:
    """Read a number in network byte order, e.g. ``__be16``."""
    return int.from_bytes(obj.to_bytes_(), "big")


def printable(raw: bytes) -> str:
    """Give bytes as ASCII with everything else escaped, backslashes too."""
    return escape_ascii_string(raw, escape_backslash=True)


def text_at(prog: Program, address: int, limit: int = 64) -> str:
    """Read a C string of at most ``limit`` bytes, escaped.

    :raises Unavailable: its page is not in the dump
    """
    with naming(f"text at {address:#x}"):
        return printable(prog.read_c_string(address, max_size=limit))


def names_of(flags: int, table: Mapping[int, str]) -> tuple[str, ...]:
    """Name the bits set in ``flags``; ``table`` goes from bit number to name.

    A bit without a name is given as ``bit N``.
    """
    bits = (bit for bit in range(flags.bit_length()) if flags >> bit & 1)
    return tuple(table.get(bit, f"bit {bit}") for bit in bits)
