"""``mce``: the machine check's records: in memory, and as the kernel printed them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object, Program
from drgn.helpers.linux.percpu import per_cpu

from crashkit.crash.panics.call_sites import argument
from crashkit.crash.panics.printed import printed_lines
from crashkit.decode.fields import Fields, has_member, naming
from crashkit.decode.mce_status import McStatus, decode_status
from crashkit.decode.memory_counts import possible_cpus
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crashkit.crash.core import Crash

# arch/x86/kernel/cpu/mce/core.c: print_mce()
_LINE = re.compile(
    r"CPU (?P<cpu>\d+): Machine Check(?: Exception)?: (?P<global>[0-9a-f]+)"
    r" Bank (?P<bank>\d+): (?P<status>[0-9a-f]{16})"
)
_VALUE = re.compile(r"\b(?P<name>ADDR|MISC|TSC) (?P<value>[0-9a-f]+)")
_RIP = re.compile(r"\bRIP\S* ?(?:!INEXACT! )?(?P<cs>[0-9a-f]+):<(?P<ip>[0-9a-f]+)>")
_BEFORE = 120
_VALID = 1 << 63


@facts
class Record:
    """One machine check of one bank. A None field has its reason in ``absent``."""

    cpu: int
    bank: int
    status: McStatus
    global_status: int | None
    """MCG_STATUS: bit 0 RIPV, 1 EIPV, 2 MCIP."""
    address: int | None
    """Physical, where the status says that it is valid."""
    misc: int | None
    ip: int | None
    origin: str
    """``memory`` or ``log``."""
    absent: Mapping[str, Reason]


@facts
class MachineCheck:
    """What the machine reported."""

    records: tuple[Record, ...]
    corroborated: bool | None
    """A record in memory and one in the log say the same; None: not both have one."""


def read(crash: Crash) -> MachineCheck | None:
    """Read the records.

    :raises Unavailable: neither memory nor the log has one
    """
    printed = tuple(_printed(crash))
    why = Unavailable("machine check records", Reason.NOT_IN_DUMP, "no record has a valid status")
    held: tuple[Record, ...] = ()
    for source in (_given, _seen):
        try:
            held += tuple(one for one in source(crash) if one not in held)
        except Unavailable as missing:
            why = missing
    if not printed and not held:
        raise why
    keys = {(one.cpu, one.bank, one.status.status) for one in held}
    both = bool(printed and held)
    same = any((one.cpu, one.bank, one.status.status) in keys for one in printed)
    others = [one for one in printed if (one.cpu, one.bank, one.status.status) not in keys]
    return MachineCheck(records=(*held, *others), corroborated=same if both else None)


def _given(crash: Crash) -> Iterator[Record]:
    # What mce_panic() was given: struct mce, in struct mce_hw_err since Linux kernel commit
    # 750fd23926f1 ("x86/mce: Add wrapper for struct mce to export vendor specific info") (in
    # v6.13).
    place = argument(crash, "mce_panic", "final")
    if not place:
        return
    with naming("struct mce"):
        types = ("struct mce_hw_err *", "struct mce *")
        known = [one for name in types if (one := _at(crash.prog, name, place)) is not None]
        if not known:
            raise Unavailable("struct mce", Reason.NO_DEBUGINFO, "no such type")
        if int(known[0].status.value_()) & _VALID:
            yield _record(known[0], int(known[0].extcpu.value_()))


def _at(prog: Program, ctype: str, place: int) -> Object | None:
    try:
        found = Object(prog, ctype, place)
    except LookupError:
        return None
    return found.m if has_member(found, "m") else found[0]


def _seen(crash: Crash) -> Iterator[Record]:
    # The worst error each CPU has seen (arch/x86/kernel/cpu/mce/core.c: mces_seen).
    prog = crash.prog
    with naming("mces_seen"):
        variable = prog["mces_seen"]
    for cpu in possible_cpus(prog):
        with naming("mces_seen"):
            record = per_cpu(variable, cpu)
            if has_member(record, "m"):
                record = record.m
            if int(record.status.value_()) & _VALID:
                yield _record(record, cpu)


def _record(record: Object, cpu: int) -> Record:
    fields = Fields("struct mce")
    status = decode_status(int(record.status.value_()))
    return Record(
        cpu=cpu,
        bank=int(record.bank.value_()),
        status=status,
        global_status=fields.number("global_status", record, "mcgstatus"),
        address=fields.number("address", record, "addr") if "ADDR valid" in status.flags else None,
        misc=fields.number("misc", record, "misc") if "MISC valid" in status.flags else None,
        ip=fields.number("ip", record, "ip"),
        origin="memory",
        absent={key: why.reason for key, why in fields.absent.items()},
    )


def _printed(crash: Crash) -> Iterator[Record]:
    lines = printed_lines(crash, before=_BEFORE, after=60)
    for number, line in enumerate(lines):
        found = _LINE.search(line)
        if found is None:
            continue
        values: dict[str, int] = {}
        ip = None
        for later in lines[number + 1 : number + 5]:
            if _LINE.search(later):
                break
            for value in _VALUE.finditer(later):
                values.setdefault(value["name"], int(value["value"], 16))
            if rip := _RIP.search(later):
                ip = int(rip["ip"], 16)
        yield Record(
            cpu=int(found["cpu"]),
            bank=int(found["bank"]),
            status=decode_status(int(found["status"], 16)),
            global_status=int(found["global"], 16),
            address=values.get("ADDR"),
            misc=values.get("MISC"),
            ip=ip,
            origin="log",
            absent={},
        )
