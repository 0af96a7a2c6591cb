"""nftables expressions in words: registers are followed to say what is compared with what."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from drgn import Object, cast
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.conntrack_stat import MAX_CPUS
from crashkit.decode.fields import has_member, naming, printable, text_at
from crashkit.decode.hooks import symbol_name
from crashkit.decode.ip_headers import PROTOCOL_NAMES
from crashkit.errors import Unavailable
from crashkit.memory import bounded, read_bytes

_VERDICTS = {0: "drop", 1: "accept", 3: "queue", -1: "continue", -2: "break", -3: "jump",
             -4: "goto", -5: "return"}  # fmt: skip
# NF_DROP, NF_ACCEPT, NF_QUEUE; NFT_CONTINUE, NFT_BREAK, NFT_JUMP, NFT_GOTO, NFT_RETURN
_WITH_CHAIN = (-3, -4)
_UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
_PLAIN_META = ("iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid", "skgid")
_META_FORMS = {"l4proto": "protocol", "nfproto": "family"}
_FAMILY_NAMES = {2: "ipv4", 10: "ipv6"}
_BASES = ("ll", "nh", "th")
_BYTES_16 = 16


class _Loaded:
    # What a register holds: the words for it, and how a value compared with it is written.
    def __init__(self, words: str, form: str, length: int) -> None:
        self.words, self.form, self.length = words, form, length


class Expressions:
    """Writes the expressions of a rule, one after the other."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._registers: dict[int, _Loaded] = {}
        self._transport = "th"

    @property
    def text(self) -> str:
        """The rule so far."""
        return " ".join(self._words)

    def add(self, name: str, expression: Object) -> None:
        """Add one.

        :param name: type of the expression, as the kernel names it
        :param expression: ``struct nft_expr *``
        """
        writer = _WRITERS.get(name)
        try:
            if writer is None:
                raise LookupError
            with naming(f"nft {name}"):
                words = writer(self, expression)
        except (Unavailable, LookupError):
            words = f"[{name}, {int(expression.ops.size.value_())} bytes]"
        if words:
            self._words.append(words)

    def _take(self, register: int) -> _Loaded:
        return self._registers.get(register) or _Loaded(f"reg {register}", "hex", 4)

    def _compared(self, register: int, value: bytes, operator: str) -> str:
        loaded = self._take(register)
        if loaded.words == "meta l4proto" and operator == "eq":
            self._transport = PROTOCOL_NAMES.get(value[0], "th")
        return f"{loaded.words} {_OPERATORS[operator]}{_value(value, loaded)}"

    def _imply(self, words: str) -> None:
        # "tcp dport" says "meta l4proto tcp" and "ip saddr" the family; nft leaves them out.
        kind = words.split(" ", 1)[0]
        implied = {"ip": "meta nfproto ipv4", "ip6": "meta nfproto ipv6"}
        if self._words and self._words[-1] == implied.get(kind, f"meta l4proto {kind}"):
            self._words.pop()

    def _meta(self, expression: Object) -> str:
        data = cast("struct nft_meta *", _data(expression))
        key = _enumerator(data.key, "NFT_META_").lower()
        words = key if key in _PLAIN_META else f"meta {key}"
        if _sets(expression):
            return f"{words} set {self._take(int(data.sreg.value_())).words}"
        form = "text" if key.endswith("ifname") else _META_FORMS.get(key, "host")
        length = int(data.len.value_()) if has_member(data, "len") else 4
        self._registers[int(data.dreg.value_())] = _Loaded(words, form, length)
        return ""

    def _payload(self, expression: Object) -> str:
        data = cast("struct nft_payload *", _data(expression))
        base, offset = int(data.base.value_()), int(data.offset.value_())
        length = int(data.len.value_())
        words, form = _field(base, offset, length, self._transport)
        self._imply(words)
        self._registers[int(data.dreg.value_())] = _Loaded(words, form, length)
        return ""

    def _ct(self, expression: Object) -> str:
        data = cast("struct nft_ct *", _data(expression))
        words = f"ct {_enumerator(data.key, 'NFT_CT_').lower()}"
        if _sets(expression):
            return f"{words} set {self._take(int(data.sreg.value_())).words}"
        self._registers[int(data.dreg.value_())] = _Loaded(words, "host", 4)
        return ""

    def _cmp(self, expression: Object) -> str:
        # nft_cmp_fast_ops and nft_cmp16_fast_ops (v5.18) share the type's name with the plain one.
        eval_ = symbol_name(expression.prog_, int(expression.ops.eval.value_())) or ""
        raw = _data(expression)
        if "fast" in (kind := _ops_name(expression) + eval_):
            small = "16" not in kind
            ctype = "struct nft_cmp_fast_expr *" if small else "struct nft_cmp16_fast_expr *"
            data = cast(ctype, raw)
            operator = "neq" if has_member(data, "inv") and data.inv.value_() else "eq"
            size = int(data.len.value_())
            length = size // 8 if size > _BYTES_16 or small else size
        else:
            data = cast("struct nft_cmp_expr *", raw)
            operator = _enumerator(data.op, "NFT_CMP_").lower()
            length = int(data.len.value_())
        loaded = self._take(int(data.sreg.value_()))
        length = min(length or loaded.length, 16)
        value = read_bytes(data.prog_, data.data.address_ or 0, length, "nft cmp")
        return self._compared(int(data.sreg.value_()), value, operator)

    def _bitwise(self, expression: Object) -> str:
        raw = _data(expression)
        fast = "fast" in _ops_name(expression)
        data = cast("struct nft_bitwise_fast_expr *" if fast else "struct nft_bitwise *", raw)
        loaded = self._take(int(data.sreg.value_()))
        length = 4 if fast else min(int(data.len.value_()), 16)
        mask = read_bytes(data.prog_, data.mask.address_ or 0, length, "nft mask")
        words = f"{loaded.words} & {_value(mask, _Loaded('', loaded.form, length))}"
        self._registers[int(data.dreg.value_())] = _Loaded(words, loaded.form, length)
        return ""

    def _immediate(self, expression: Object) -> str:
        data = cast("struct nft_immediate_expr *", _data(expression))
        if int(data.dreg.value_()) == 0:  # NFT_REG_VERDICT
            return _verdict(data.data.verdict)
        length = min(int(data.dlen.value_()), 16)
        value = read_bytes(data.prog_, data.data.address_ or 0, length, "nft data")
        words = f"{int.from_bytes(value, 'little'):#x}"
        self._registers[int(data.dreg.value_())] = _Loaded(words, "hex", length)
        return ""

    def _lookup(self, expression: Object) -> str:
        data = cast("struct nft_lookup *", _data(expression))
        name = text_at(data.prog_, int(data.set.name.value_()), 256)
        inverted = "!= " if data.invert.value_() else ""
        return f"{self._take(int(data.sreg.value_())).words} {inverted}@{name}"

    def _counter(self, expression: Object) -> str:
        data = cast("struct nft_counter_percpu_priv *", _data(expression))
        counters, packets, size = data.counter.read_(), 0, 0
        for cpu in bounded(for_each_possible_cpu(data.prog_), MAX_CPUS, "possible CPUs"):
            one = per_cpu_ptr(counters, cpu)
            packets += _u64(one.packets)
            size += _u64(one.bytes)
        return f"counter packets {packets} bytes {size}"

    def _limit(self, expression: Object) -> str:
        packets = "pkt" in _ops_name(expression)
        data = cast("struct nft_limit_priv *", _data(expression))
        seconds = int(data.nsecs.value_()) // 1_000_000_000
        unit = _UNITS.get(seconds, f"{seconds} seconds")
        over = "over " if data.invert.value_() else ""
        what = "" if packets else " bytes"
        return f"limit rate {over}{int(data.rate.value_())}{what}/{unit}"

    def _log(self, expression: Object) -> str:
        data = cast("struct nft_log *", _data(expression))
        start = int(data.prefix.value_())
        prefix = text_at(data.prog_, start, 128) if start else ""
        return f'log prefix "{prefix}"' if prefix else "log"

    def _queue(self, expression: Object) -> str:
        data = cast("struct nft_queue *", _data(expression))
        first, count = int(data.queuenum.value_()), int(data.queues_total.value_())
        return f"queue to {first}" + (f"-{first + count - 1}" if count > 1 else "")

    def _connlimit(self, expression: Object) -> str:
        data = cast("struct nft_connlimit *", _data(expression))
        over = "over " if data.invert.value_() else ""
        return f"ct count {over}{int(data.limit.value_())}"

    def _reject(self, expression: Object) -> str:
        data = cast("struct nft_reject *", _data(expression))
        kind = _enumerator(data.type, "NFT_REJECT_").lower().replace("_", " ")
        return "reject with tcp reset" if "tcp" in kind else "reject"


def _data(expression: Object) -> Object:
    return expression.data.address_of_()


def _ops_name(expression: Object) -> str:
    return symbol_name(expression.prog_, int(expression.ops.value_())) or ""


def _sets(expression: Object) -> bool:
    return "set" in (symbol_name(expression.prog_, int(expression.ops.eval.value_())) or "")


def _u64(obj: Object) -> int:
    # s64, u64, or u64_stats_t around a local64_t
    for wrapper in ("v", "a", "counter"):
        while has_member(obj, wrapper):
            obj = obj.member_(wrapper)
    return int(obj.value_())


def _enumerator(obj: Object, prefix: str) -> str:
    value = int(obj.value_())
    for enumerator in obj.type_.enumerators or ():
        if enumerator.value == value and enumerator.name.startswith(prefix):
            return str(enumerator.name.removeprefix(prefix))
    return str(value)


_FIELDS = {
    ("nh", 12): ("ip saddr", 4), ("nh", 16): ("ip daddr", 4), ("nh", 9): ("ip protocol", 1),
}  # fmt: skip
_SIXTEEN = {("nh", 8): "ip6 saddr", ("nh", 24): "ip6 daddr"}


def _field(base: int, offset: int, length: int, transport: str) -> tuple[str, str]:
    where = _BASES[base] if base < len(_BASES) else str(base)
    if where == "th" and length == 2 and offset in (0, 2):
        return f"{transport} {'dport' if offset else 'sport'}", "number"
    name, full = _FIELDS.get((where, offset), ("", 0))
    if name and length <= full:
        return name, "protocol" if full == 1 else "address"
    six = _SIXTEEN.get((where, offset))
    # a shorter load is a prefix, which nft writes as one
    if six and (length == 16 or (length > 4 and offset != 12)):
        return six, "address6"
    return f"@{where},{8 * offset},{8 * length}", "hex"


_OPERATORS = {"eq": "", "neq": "!= ", "lt": "< ", "lte": "<= ", "gt": "> ", "gte": ">= "}


def _value(value: bytes, loaded: _Loaded) -> str:
    if loaded.form == "text":
        return f'"{printable(value.partition(bytes(1))[0])}"'
    if loaded.form == "number":
        return str(int.from_bytes(value, "big"))
    if loaded.form == "protocol":
        return PROTOCOL_NAMES.get(value[0], str(value[0]))
    if loaded.form == "family":
        return _FAMILY_NAMES.get(value[0], str(value[0]))
    if loaded.form in ("address", "address6"):
        size = 4 if loaded.form == "address" else 16
        length = min(len(value), loaded.length)
        full = value[:length].ljust(size, b"\0")
        text = str(IPv4Address(full) if size == 4 else IPv6Address(full))
        return text if length == size else f"{text}/{8 * length}"
    if loaded.form == "host":
        return f"{int.from_bytes(value, 'little'):#x}"
    return f"0x{value.hex()}"


def _verdict(verdict: Object) -> str:
    code = int(cast("int", verdict.code).value_())
    word = _VERDICTS.get(code, f"verdict {code}")
    if code in _WITH_CHAIN:
        name = text_at(verdict.prog_, int(verdict.chain.name.value_()), 256)
        return f"{word} {name}"
    return word


_WRITERS: dict[str, Callable[[Expressions, Object], str]] = {
    "meta": Expressions._meta,
    "payload": Expressions._payload,
    "ct": Expressions._ct,
    "cmp": Expressions._cmp,
    "bitwise": Expressions._bitwise,
    "immediate": Expressions._immediate,
    "lookup": Expressions._lookup,
    "counter": Expressions._counter,
    "limit": Expressions._limit,
    "log": Expressions._log,
    "queue": Expressions._queue,
    "connlimit": Expressions._connlimit,
    "reject": Expressions._reject,
}
