"""The PACKET line."""

from __future__ import annotations

from typing import Any

from crashkit.decode.ip_headers import PROTOCOL_NAMES
from crashkit.report.columns import wrap_groups
from crashkit.report.parts import Json


def packet_block(document: Json) -> list[str]:
    """One line for each packet found."""
    lines: list[str] = []
    for entry in document["objects"]:
        if entry["kind"] == "packet":
            words = packet_words(entry["facts"], _device(document))
            lines += wrap_groups(words, ",", " " * 7, "PACKET ")
    return lines


def _device(document: Json) -> str | None:
    for entry in document["objects"]:
        if entry["kind"] == "sk_buff":
            name: str | None = entry["facts"].get("device_name")
            return name
    return None


def packet_words(facts: Json, device: str | None) -> list[str]:
    """Describe a packet: device, addresses, protocol and ports, length, checksum."""
    ip: Json = facts["ip"] if isinstance(facts.get("ip"), dict) else facts
    transport: Json = facts["transport"] if isinstance(facts.get("transport"), dict) else facts
    version = "IPv6" if "hop_limit" in ip or ":" in str(ip.get("source")) else "IPv4"
    words = [
        str(device or facts.get("device") or ""),
        f"{version} {_text(ip.get('source'))} > {_text(ip.get('destination'))}",
        _transport(protocol_name(facts).upper(), transport),
        _named("len", ip.get("total_length")),
        _named("ttl", ip.get("ttl", ip.get("hop_limit"))),
        _identification(ip.get("identification")),
        _checksum(ip.get("checksum")),
    ]
    return [word for word in words if word]


def protocol_name(facts: Json) -> str:
    """Name a packet's IP protocol; its number where it has no name here."""
    ip: Json = facts["ip"] if isinstance(facts.get("ip"), dict) else facts
    number = ip.get("protocol")
    named = facts.get("protocol_name")
    if named is None and isinstance(number, int):
        named = PROTOCOL_NAMES.get(number)
    return str(named or ("?" if number is None else number))


def _transport(protocol: str, transport: Json) -> str:
    source, destination = transport.get("source_port"), transport.get("destination_port")
    if source is None and destination is None:
        return protocol
    return f"{protocol} {_text(source)} > {_text(destination)}"


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return "?" if value is None else str(value)


def _named(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    return "" if value is None else f"{name} {value}"


def _identification(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return f"id {value:#06x}" if isinstance(value, int) else ""


def _checksum(value: Any) -> str:  # noqa: ANN401 - any JSON value
    words = {"valid": "IP checksum right", "wrong": "IP checksum WRONG"}
    return words.get(str(value), "")
