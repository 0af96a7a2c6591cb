"""MCi_STATUS in words, by Intel's Software Developer's Manual, volume 3."""

from __future__ import annotations

from crashkit.value import facts

_FLAGS = {
    63: "valid", 62: "overflow: an error was lost", 61: "uncorrected", 60: "enabled",
    59: "MISC valid", 58: "ADDR valid", 57: "processor context corrupt", 56: "signalled (S)",
    55: "action required (AR)",
}  # fmt: skip

# "Interpreting Machine Check Error Codes", simple error codes
_SIMPLE = {
    0x0000: "no error", 0x0001: "unclassified", 0x0002: "microcode ROM parity",
    0x0003: "external (BINIT#)", 0x0004: "FRC", 0x0005: "internal parity",
    0x0006: "SMM handler code access", 0x0400: "internal timer",
}  # fmt: skip
_LEVEL = ("level 0", "level 1", "level 2", "generic level")
_KIND = ("instruction", "data", "generic", "generic")
_REQUEST = (
    "generic error", "generic read", "generic write", "data read", "data write",
    "instruction fetch", "prefetch", "eviction", "snoop",
)  # fmt: skip
_MEMORY = ("generic", "read", "write", "address or command", "scrubbing")
_TAKING_PART = ("source", "responder", "observer", "generic")
_WHERE = ("memory", "reserved", "I/O", "other")


@facts
class McStatus:
    """MCi_STATUS taken apart."""

    status: int
    flags: tuple[str, ...]
    error_code: int
    """MCACOD, the architecture's."""
    model_code: int
    """MSCOD, the model's own."""
    words: str
    """MCACOD in words."""


def decode_status(status: int) -> McStatus:
    """Take an MCi_STATUS apart."""
    code = status & 0xFFFF
    return McStatus(
        status=status,
        flags=tuple(name for bit, name in _FLAGS.items() if status >> bit & 1),
        error_code=code,
        model_code=status >> 16 & 0xFFFF,
        words=error_words(code),
    )


def error_words(code: int) -> str:
    """Say what an MCACOD means; bit 12 says that reports were filtered."""
    plain = code & ~0x1000
    if code in _SIMPLE:
        return _SIMPLE[code]
    if plain & 0xEF00 == 0x0000 and plain & 0xF0 == 0x10:
        return f"{_KIND[plain >> 2 & 3]} TLB, {_LEVEL[plain & 3]}"
    if plain & 0xFFFC == 0x000C:
        return f"cache hierarchy, {_LEVEL[plain & 3]}"
    if plain & 0xFF80 == 0x0080 or plain & 0xFF80 == 0x0280:
        return f"memory controller, {_named(_MEMORY, plain >> 4 & 7)}, {_channel(plain & 15)}"
    if plain & 0xFF00 == 0x0100:
        request = _named(_REQUEST, plain >> 4 & 15)
        return f"{_KIND[plain >> 2 & 3]} cache, {_LEVEL[plain & 3]}, {request}"
    if plain & 0xF800 == 0x0800:
        late = ", timed out" if plain & 0x100 else ""
        part = _TAKING_PART[plain >> 9 & 3]
        request = _named(_REQUEST, plain >> 4 & 15)
        return f"bus, {part}, {request} of {_WHERE[plain >> 2 & 3]}, {_LEVEL[plain & 3]}{late}"
    if plain & 0xFC00 == 0x0400:
        return "internal, unclassified"
    return "not described by the architecture"


def _named(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < len(names) else f"request {index}"


def _channel(number: int) -> str:
    return "channel not given" if number == 15 else f"channel {number}"
