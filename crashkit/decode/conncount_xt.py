"""Connection limits in iptables' rules: ``xt_connlimit`` matches of every table."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from drgn import FaultError, Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.conncount_rule import (
    INVERT,
    ConncountRule,
    Connlimit,
    decode_connlimit,
)
from crashkit.decode.fields import Fields, has_member, naming, pointer, printable, text_at
from crashkit.decode.ip_headers import NFPROTO_IPV4, NFPROTO_IPV6
from crashkit.decode.netns import net_generic
from crashkit.decode.nf_rules_xt_text import address_words, match_words, target_words
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of, size_of, strip
from crashkit.memory import bounded, read_bytes
from crashkit.value import facts

MAX_TABLES = 64
MAX_TABLE_BYTES = 64 << 20
_ENTRIES = {NFPROTO_IPV4: "ipt_entry", NFPROTO_IPV6: "ip6t_entry"}
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_DROP, _VERDICTS = -1, {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}
# A standard target's verdict is -NF_x - 1; XT_RETURN is -NF_REPEAT - 1.
# include/uapi/linux/netfilter/x_tables.h, include/uapi/linux/netfilter.h
_REJECT = "REJECT"
_ERROR = "ERROR"


@facts
class _Entry:
    # One ipt_entry or ip6t_entry.
    offset: int
    target: int
    end: int


def xt_rules(prog: Program, net: Object) -> Iterator[ConncountRule]:
    """Yield the rules of a namespace's iptables that have a connlimit match.

    :param net: ``struct net *``
    :raises Unavailable: the tables cannot be followed to their end
    """
    if not _is_known(prog, "struct xt_table") or not _is_known(prog, "struct xt_connlimit_info"):
        return
    for family, name in _ENTRIES.items():
        if not _is_known(prog, f"struct {name}"):
            continue
        with naming("xt tables"):
            head = _tables(net, family)
            walk = list_for_each_entry("struct xt_table", head, "list")
            for table in bounded(walk, MAX_TABLES, "xt tables"):
                yield from _Table(net, table, family).rules()


def _is_known(prog: Program, name: str) -> bool:
    try:
        return bool(prog.type(name).is_complete())
    except LookupError:
        return False


def _tables(net: Object, family: int) -> Object:
    # In struct xt_pernet (net/netfilter/x_tables.c) on newer kernels, else in net->xt.
    if has_member(net, "xt") and has_member(net.xt, "tables"):
        return net.xt.tables[family].address_of_()
    own = net_generic(net, "xt_pernet_id", "struct xt_pernet")
    return own.tables[family].address_of_()


class _Table:
    # One table: its blob is read whole.
    def __init__(self, net: Object, table: Object, family: int) -> None:
        self.prog = prog = net.prog_
        self.net = int(net)
        self.family = family
        self.name = printable(table.name.string_())
        self.info = info = table.private.read_()
        pointer(info, "xt_table->private")
        size = int(info.size)
        if not 0 < size <= MAX_TABLE_BYTES:
            raise Unavailable("xt table", Reason.CORRUPTED, f"{size} bytes")
        # One copy for all CPUs, its counters per CPU, since Linux kernel commit 482cfc318559
        # ("netfilter: xtables: avoid percpu ruleset duplication") (in v4.2); before that, one
        # copy for each CPU.
        self.one_copy = size_of(strip(info.entries.type_).type) == 1
        self.base = int(info.entries.address_) if self.one_copy else int(info.entries[0])
        self.blob = read_bytes(prog, self.base, size, "xt table")
        self.type = prog.type(f"struct {_ENTRIES[family]}")
        self.elems = offset_of(self.type, "elems")
        self.match = prog.type("struct xt_entry_match")
        self.names: dict[tuple[str, int], str] = {}

    def rules(self) -> Iterator[ConncountRule]:
        chain, number = "?", 0
        hooks = self._hooks()
        for entry in self._entries():
            target = self._extension("target", entry.target)
            if target == _ERROR:
                chain, number = self._chain_name(entry), 0
                continue
            if entry.offset in hooks:
                chain, number = hooks[entry.offset], 0
            number += 1
            found = self._matches(entry)
            for name, at in found:
                if name == "connlimit":
                    yield self._rule(entry, chain, number, found, at)

    def _hooks(self) -> dict[int, str]:
        # Offset of a built-in chain's first rule to its name; a hook without one has another's
        # offset or all ones.
        valid = int(self.info.hook_entry.type_.length or 0)
        entries = [int(self.info.hook_entry[hook]) for hook in range(min(valid, len(_HOOKS)))]
        return {offset: _HOOKS[hook] for hook, offset in reversed(list(enumerate(entries)))}

    def _number(self, offset: int, size: int = 2) -> int:
        raw = self.blob[offset : offset + size]
        if offset < 0 or len(raw) < size:
            raise Unavailable("xt table", Reason.CORRUPTED, f"an entry ends past it, at {offset}")
        return int.from_bytes(raw, "little")

    def _entries(self) -> Iterator[_Entry]:
        offset = 0
        target_at = offset_of(self.type, "target_offset")
        next_at = offset_of(self.type, "next_offset")
        while offset < len(self.blob):
            target = self._number(offset + target_at)
            step = self._number(offset + next_at)
            if not self.elems <= target < step:
                raise Unavailable("xt table", Reason.CORRUPTED, f"an entry of {step} bytes")
            yield _Entry(offset=offset, target=offset + target, end=offset + step)
            offset += step

    def _matches(self, entry: _Entry) -> list[tuple[str, int]]:
        # Name and offset of each match.
        found, at = [], entry.offset + self.elems
        least = offset_of(self.match, "data")
        while at < entry.target:
            size = self._number(at)
            if size < least:
                raise Unavailable("xt table", Reason.CORRUPTED, f"a match of {size} bytes")
            found.append((self._extension("match", at), at))
            at += size
        return found

    def _extension(self, kind: str, at: int) -> str:
        # Name of a match or target; both begin with their size and a pointer to what they are.
        holder = self.prog.type(f"struct xt_entry_{kind}")
        held = self._number(at + offset_of(holder, f"u.kernel.{kind}"), 8)
        key = (kind, held)
        if key not in self.names:
            self.names[key] = text_at(
                self.prog, held + offset_of(self.prog.type(f"struct xt_{kind}"), "name"), 29
            )
        return self.names[key]

    def _chain_name(self, entry: _Entry) -> str:
        at = entry.target + offset_of(self.prog.type("struct xt_error_target"), "errorname")
        return printable(self.blob[at : entry.end].split(b"\0", 1)[0])

    def _rule(
        self, entry: _Entry, chain: str, number: int, found: list[tuple[str, int]], at: int
    ) -> ConncountRule:
        fields = Fields(f"rule {number} of {chain}")
        data = self.base + at + offset_of(self.match, "data")
        limit = decode_connlimit(data, self.info, self.family)
        target, drops = self._target(entry)
        words = [f"-A {chain}", *self._words(entry, found, at, limit), target]
        return ConncountRule(
            kind="xt",
            net=self.net,
            family=self.family,
            table=self.name,
            chain=chain,
            number=number,
            text=" ".join(word for word in words if word),
            limit=limit.limit,
            inverted=bool(limit.flags & INVERT),
            mask=limit.mask,
            destination=limit.destination,
            address=limit.address,
            data=limit.data,
            list=None,
            drops=drops and not limit.flags & INVERT,
            packets=fields.take("packets", lambda: self._packets(entry)),
            absent=fields.absent,
        )

    def _words(
        self, entry: _Entry, found: list[tuple[str, int]], at: int, limit: Connlimit
    ) -> Iterator[str]:
        kind = _ENTRIES[self.family].removesuffix("_entry")
        rule = Object(self.prog, self.prog.pointer_type(self.type), self.base + entry.offset)
        yield from address_words(rule, kind)
        for name, place in found:
            if place == at:
                yield limit.text
                continue
            match = Object(self.prog, "struct xt_entry_match *", self.base + place)
            yield match_words(name, int(match.u.kernel.match.revision), match, kind)

    def _target(self, entry: _Entry) -> tuple[str, bool]:
        name = self._extension("target", entry.target)
        if name:
            target = Object(self.prog, "struct xt_entry_target *", self.base + entry.target)
            revision = int(target.u.kernel.target.revision)
            return target_words(name, revision, target), name == _REJECT
        at = entry.target + offset_of(self.prog.type("struct xt_standard_target"), "verdict")
        verdict = struct.unpack("<i", self._number(at, 4).to_bytes(4, "little"))[0]
        if verdict == entry.end:
            return "", False  # no target: on to the next rule
        if verdict >= 0:
            return "-j (a chain)", False
        return f"-j {_VERDICTS.get(verdict, verdict)}", verdict == _DROP

    def _packets(self, entry: _Entry) -> int:
        counters = Object(self.prog, self.type, address=self.base + entry.offset).counters
        if not self.one_copy:
            raise Unavailable("packets", Reason.UNSUPPORTED, "a copy for each CPU on this kernel")
        if int(self.prog["nr_cpu_ids"]) <= 1:
            return int(counters.pcnt)
        shared = Object(self.prog, "struct xt_counters *", int(counters.pcnt))
        try:
            return sum(
                int(per_cpu_ptr(shared, cpu).pcnt)
                for cpu in bounded(for_each_possible_cpu(self.prog), 8192, "possible CPUs")
            )
        except FaultError as fault:
            raise Unavailable("packets", Reason.NOT_IN_DUMP, str(fault)) from fault
