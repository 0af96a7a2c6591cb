"""Which of two dumps was taken first, and whether they are of one boot."""

from __future__ import annotations

from crashkit.diff.model import Order
from crashkit.diff.snapshot import Boot, Snapshot

_CLOSE_S = 5.0
_DRIFT = 1e-4
# Two boots of one machine are further apart; the clock may have been set by seconds.


def order_of(first: Snapshot, second: Snapshot) -> Order:
    """Order two dumps: of one boot by time, of two boots as they were named.

    What leaked in one boot is to be seen beside any other boot, whichever came first.
    """
    same, same_why = _same_boot(first, second)
    is_late, why = _first_is_later(first.boot, second.boot, same=same)
    swapped = same is True and is_late is True
    elapsed = None
    if same and first.boot.uptime_s is not None and second.boot.uptime_s is not None:
        elapsed = round(abs(second.boot.uptime_s - first.boot.uptime_s), 3)
    return Order(
        swapped=swapped,
        taken_first=None if is_late is None else "after" if is_late and not swapped else "before",
        why=why,
        same_boot=same,
        same_boot_why=same_why,
        elapsed_s=elapsed,
    )


def _first_is_later(first: Boot, second: Boot, *, same: bool | None) -> tuple[bool | None, str]:
    # Whether the one named first was taken last; None: nothing says.
    if same and first.uptime_s is not None and second.uptime_s is not None:
        if first.uptime_s == second.uptime_s:
            return None, "both were taken at the same moment"
        return first.uptime_s > second.uptime_s, "by uptime"
    if first.crash_time is None or second.crash_time is None:
        return None, "one of them does not say when it was taken"
    if first.crash_time == second.crash_time:
        return None, "both were taken in the same second"
    return first.crash_time > second.crash_time, "by date"


def _same_boot(first: Snapshot, second: Snapshot) -> tuple[bool | None, str]:
    for key, words in (("build_id", "build ids"), ("release", "releases")):
        one, other = first.fact(key), second.fact(key)
        if one is not None and other is not None and one != other:
            return False, f"the kernels' {words} differ"
    a, b = first.boot, second.boot
    if a.boot_id is not None and b.boot_id is not None:
        same = a.boot_id == b.boot_id
        return same, f"their boot ids are {'the same' if same else 'different'}"
    if a.layout is not None and b.layout is not None and a.layout != b.layout:
        return False, "the kernel lies at other addresses"
    return _by_clock(a, b)


def _by_clock(a: Boot, b: Boot) -> tuple[bool | None, str]:
    if a.booted is None or b.booted is None or a.uptime_s is None or b.uptime_s is None:
        return None, "one of them does not say when it was booted"
    apart = abs(a.booted - b.booted)
    if apart <= _CLOSE_S + _DRIFT * max(a.uptime_s, b.uptime_s):
        if a.layout is None or b.layout is None:
            return None, f"booted within {apart:.1f} s of each other; nothing else tells"
        return True, f"at the same addresses, and booted within {apart:.1f} s by their clocks"
    if a.crash_time is not None and b.crash_time is not None:
        earlier, later = sorted((a, b), key=lambda boot: boot.crash_time or 0)
        if (later.uptime_s or 0) < (earlier.uptime_s or 0):
            return False, "the later one has been up for less time"
    return None, f"booted {apart:.0f} s apart by their clocks, which may have been set"
