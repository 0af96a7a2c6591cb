"""Which function a report is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from crashkit.oops.fields import Body, Trace
from crashkit.oops.kind import Blame, Kind
from crashkit.oops.layers import NOBODY, PAGE_CHECKS
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogLine
from crashkit.oops.skips import (
    Family,
    compiled,
    is_dispatcher,
    is_in,
    is_interrupt,
    is_passed_over,
)
from crashkit.oops.trace import TraceEntry

_CLONE = LazyPattern(r"\.(?:constprop|isra|part|cold|llvm|lto_priv|unlikely|clone)\b.*$|\.\d+$")
_SYSCALL = LazyPattern(r"^(?:__(?:se|x64|ia32|arm64|do)_(?:compat_)?sys_|(?:compat_)?SyS_|C_SYSC_)")
_WRAPPERS = LazyPattern(
    r"^(?:SYSC_|SyS_|sys_(?=\w)|__(?:x64|ia32|arm64|riscv|s390x?)_|_{2,4}sys_|__(?:do|se)_sys_|__se_|"
    r"compat_SYSC_|compat_SyS_|ksys_)"
)
_RTNL = "rtnl_lock"
_GRACE_PERIODS = ("synchronize_rcu", "synchronize_srcu", "synchronize_net", "synchronize_sched")
# Hangs whose victims all wait for one and the same thing are titled by it.


def plain_name(function: str) -> str:
    """Strip what the compiler appended to a name, and the wrapper prefixes of a system call.

    ``foo.constprop.0`` is ``foo``; ``__x64_sys_read`` and ``SyS_read`` are ``sys_read``.
    """
    return _SYSCALL.sub("sys_", _CLONE.sub("", function))


def title_name(function: str) -> str:
    """Strip a name as titles do: of the layers of a system call's wrappers, the outermost.

    ``__x64_sys_read`` is ``sys_read``, ``__do_sys_read`` and ``SyS_read`` are ``read``.
    """
    name = _CLONE.sub("", function)
    return _WRAPPERS.sub("", name) or name


def find_blamed(
    kind: Kind, named: str | None, body: Body, lines: Sequence[LogLine], skip: Family | None = None
) -> str | None:
    """Choose the function that the title names, as a title spells it; None where none can be.

    :param named: the function in the opening line
    :param lines: those after the opening line
    :param skip: instead of the row's
    """
    if kind.blame is Blame.NONE:
        return None
    passed = _passed_over(skip or kind.skip)
    chosen = _CHOICES[kind.blame](kind, named, body, lines, passed)
    return title_name(chosen) if chosen else None


Passed = Callable[[str], bool]


def _passed_over(skip: Family | None) -> Passed:
    if skip is None:
        return is_passed_over
    special = is_in(skip)
    return lambda function: is_passed_over(function) or special(function)


def _first(functions: Iterable[str | None], passed: Passed) -> str | None:
    for function in functions:
        if function and not passed(title_name(function)):
            return function
    return None


def _functions(body: Body) -> list[str]:
    return [entry.function for entry in certain(body.trace)]


def certain(trace: Sequence[TraceEntry]) -> list[TraceEntry]:
    """Keep the entries that are no mere words on the stack; all, where there are no others."""
    return [entry for entry in trace if entry.reliable] or list(trace)


def _ip(body: Body) -> str | None:
    return body.ip.function if body.ip else None


def _innermost(
    _kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], passed: Passed
) -> str | None:
    return _first([_ip(body), *_functions(body)], passed) or _ip(body) or named


def _exact(
    _kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], passed: Passed
) -> str | None:
    return _ip(body) or _first(_functions(body), passed) or named


def _caller(
    _kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], passed: Passed
) -> str | None:
    return _first(_functions(body), passed) or named


def _line(
    kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], passed: Passed
) -> str | None:
    first = [named] if named else [_ip(body)]
    chosen = _first([*first, *_functions(body)], passed)
    if chosen is None and len(body.traces) > 1 and "KMSAN" in kind.title:
        chosen = _first((e.function for t in body.traces[1:] for e in certain(t.entries)), passed)
    return chosen or named or _ip(body)


def _entry(
    kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], passed: Passed
) -> str | None:
    if kind.kind == "rcu-stall":
        functions = _interrupted(body)
    else:
        functions = [name for name in (_ip(body), *_functions(body)) if name]
    inner: str | None = None
    for function in functions:
        name = title_name(function)
        if passed(name):
            continue
        if is_dispatcher(name):
            return "smp_call_function" if "smp_call_function" in name else inner or function
        inner = function
    return inner or named or (None if kind.kind == "rcu-stall" else _ip(body))


def _interrupted(body: Body) -> list[str]:
    # A stall prints the stacks of several tasks; the one that does not move was
    # interrupted by the timer.
    for trace in body.traces:
        entries = certain(trace.entries)
        places = [n for n, entry in enumerate(entries) if is_interrupt(entry.function)]
        if places:
            return _below(trace, entries, places[0])
    functions = [entry.function for trace in body.traces for entry in certain(trace.entries)]
    return functions if len(body.traces) == 1 else [name for name in (_ip(body),) if name]


def _below(trace: Trace, entries: Sequence[TraceEntry], interrupt: int) -> list[str]:
    found = [entry.function for entry in entries[interrupt + 1 :]]
    number = next(n for n, entry in enumerate(trace.entries) if entry is entries[interrupt])
    places = [name for at, name in sorted(trace.places.items()) if at > number]
    return [*places[:1], *found]


def find_interrupted_trace(body: Body) -> list[TraceEntry] | None:
    """Find the stack of the CPU that a stall is about; None where no interrupt is on any."""
    for trace in body.traces:
        if any(is_interrupt(entry.function) for entry in certain(trace.entries)):
            return trace.entries
    return None


def _waiter(
    kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], _passed: Passed
) -> str | None:
    general = _passed_over(None)
    functions = [name for name in map(title_name, _functions(body)) if not general(name)]
    for function in functions:
        if _RTNL in function:
            return function
        if any(name in function for name in _GRACE_PERIODS):
            return _GRACE_PERIODS[0]
    waits = is_in(kind.skip or NOBODY)
    return next((name for name in functions if not waits(name)), named)


def _lock(
    kind: Kind, named: str | None, body: Body, lines: Sequence[LogLine], passed: Passed
) -> str | None:
    after = compiled(kind.after or "")
    start = next((n for n, line in enumerate(lines) if after.search(line.text)), None)
    held = [name for number, name in body.held if start is not None and number > start]
    if kind.skip is NOBODY:
        return held[0] if held else _first(_functions(body), passed) or named
    below = [e.function for t in body.traces[:1] for e in certain(t.entries)]
    return _first([*held[:2], *below, *_functions(body)], passed) or (held[0] if held else named)


def _origin(
    kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], passed: Passed
) -> str | None:
    after = compiled(kind.after or "")
    for trace in body.traces:
        if after.search(trace.heading):
            return _first((entry.function for entry in certain(trace.entries)), passed)
    return _first(_functions(body), _passed_over(PAGE_CHECKS)) or named


def _work(
    _kind: Kind, named: str | None, body: Body, _lines: Sequence[LogLine], _passed: Passed
) -> str | None:
    return body.work or named


_CHOICES = {
    Blame.INNERMOST: _innermost,
    Blame.EXACT: _exact,
    Blame.CALLER: _caller,
    Blame.LINE: _line,
    Blame.ENTRY: _entry,
    Blame.WAITER: _waiter,
    Blame.LOCK: _lock,
    Blame.ORIGIN: _origin,
    Blame.WORK: _work,
}
