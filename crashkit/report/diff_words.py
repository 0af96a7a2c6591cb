"""Numbers of two dumps and their difference, in words."""

from __future__ import annotations

from crashkit.report.parts import Json

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def bytes_words(number: float) -> str:
    """Write bytes in a unit that fits: ``512 B``, ``6.0 MiB``."""
    size, unit = abs(number), "B"
    for larger in _UNITS:
        if size < 1000:
            break
        size, unit = size / 1024, larger
    text = f"{size:,.0f}" if unit in ("B", "KiB") else f"{size:,.1f}"
    return f"{'-' * (number < 0)}{text} {unit}"


def also(aliases: list[str], most: int = 3) -> str:
    """Name the caches that are counted with one; empty for none."""
    if not aliases:
        return ""
    return f" (also {', '.join(aliases[:most])}{', ...' * (len(aliases) > most)})"


def amount(number: int | None, quantity: str) -> str:
    """Write one number; ``?`` where it is not known."""
    if number is None:
        return "?"
    return bytes_words(number) if quantity == "bytes" else f"{number:,}"


def signed(change: int | None, quantity: str) -> str:
    """Write a change with its sign; ``?`` where it is not known."""
    return "?" if change is None else f"{'+' * (change > 0)}{amount(change, quantity)}"


def rate(number: Json, quantity: str) -> str:
    """Write a change by the second; empty where it is not known or nothing changed."""
    speed = number["per_second"]
    if not speed:
        return ""
    if quantity == "bytes":
        return f"{'+' * (speed > 0)}{bytes_words(speed)}/s"
    digits = 0 if abs(speed) >= 100 else 1 if abs(speed) >= 1 else 3
    return f"{speed:+,.{digits}f}/s"


def pair(number: Json, quantity: str, unread: tuple[str, ...] = ()) -> str:
    """Write the number before and the one after.

    :param unread: sides of which nothing was read, so that the reason is said elsewhere
    """
    words = []
    for side in ("before", "after"):
        reason = number.get("absent", {}).get(side)
        why = f" ({reason})" if reason and side not in unread else ""
        words.append(amount(number[side], quantity) + why)
    return " -> ".join(words)


def row_words(row: Json, noun: str, unread: tuple[str, ...] = ()) -> str:
    """Write all numbers of a row: ``12,288 -> 2,440,192 objects, 6.0 MiB -> 1.2 GiB``."""
    numbers, words = row["numbers"], []
    count = numbers.get("count")
    if count is not None and (count["before"], count["after"]) != (None, None):
        words.append(f"{pair(count, 'count', unread)} {noun}".rstrip())
    elif "room" in numbers:
        words.append(f"room for {pair(numbers['room'], 'room', unread)} {noun}".rstrip())
    elif count is not None:
        words.append(pair(count, "count", unread))
    if "bytes" in numbers:
        words.append(pair(numbers["bytes"], "bytes", unread))
    return ", ".join(words)


def grown_words(name: str, noun: str, row: Json) -> str:
    """Write one line of what grew most.

    ``kmalloc-512: 12,288 -> 2,440,192 objects (+1.2 GiB, +3.1 MiB/s)``
    """
    numbers = row["numbers"]
    quantity = "bytes" if "bytes" in numbers else "count"
    changes = [signed(numbers[quantity]["change"], quantity), rate(numbers[quantity], quantity)]
    if quantity == "bytes" and ("count" in numbers or "room" in numbers):
        counted = {key: one for key, one in numbers.items() if key != "bytes"}
        words = row_words({"numbers": counted}, noun)
    else:
        words = row_words(row, noun)
    return f"{name}: {words} ({', '.join(filter(None, changes))})"
