"""A packet in words, from the outside in; the PACKET line of a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crashkit.decode.ip_headers import PROTOCOL_NAMES
from crashkit.decode.link_headers import ETHER_TYPE_NAMES
from crashkit.report.columns import wrap_groups
from crashkit.report.parts import Json

_TUNNELS = {"vxlan": "VXLAN", "geneve": "Geneve", "gre": "GRE", "erspan": "ERSPAN", "esp": "ESP",
            "ah": "AH", "ipip": "IPIP"}  # fmt: skip
_ID = {"vxlan": "VNI", "geneve": "VNI", "gre": "key", "erspan": "session", "esp": "SPI",
       "ah": "SPI"}  # fmt: skip
_CARRIED = {4789: "VXLAN", 6081: "Geneve"}  # IANA's port numbers
_CHECKSUMS = {"valid": "right", "wrong": "WRONG", "partial": "for the device to complete"}


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
    """Describe a packet: device, tags, addresses, protocol and ports, length, checksums.

    What a tunnel carries follows, the innermost last.
    """
    words = [str(device or facts.get("device") or ""), *vlan_words(facts.get("vlans"))]
    return [word for word in (*words, *_packet(facts)) if word]


def vlan_words(tags: Any) -> list[str]:  # noqa: ANN401 - any JSON value
    """Describe VLAN tags, outermost first."""
    return [f"VLAN {tag['id']}" for tag in tags or ()]


def _packet(facts: Json) -> list[str]:
    ip: Json = facts["ip"] if isinstance(facts.get("ip"), dict) else facts
    transport: Json = facts["transport"] if isinstance(facts.get("transport"), dict) else facts
    version = "IPv6" if "hop_limit" in ip or ":" in str(ip.get("source")) else "IPv4"
    return [
        f"{version} {_text(ip.get('source'))} > {_text(ip.get('destination'))}",
        *([] if facts.get("tunnel") and not _ports(transport) else [_transport(facts, transport)]),
        " ".join(transport.get("flags") or ()),
        _icmp(transport),
        _named("len", ip.get("total_length")),
        _named("ttl", ip.get("ttl", ip.get("hop_limit"))),
        _identification(ip.get("identification")),
        _fragment(ip),
        _checksum("IP", ip.get("checksum")),
        _checksum(protocol_name(facts).upper(), facts.get("transport_checksum")),
        _missing(facts),
        *_tunnel(facts),
    ]


def protocol_name(facts: Json) -> str:
    """Name a packet's IP protocol; its number where it has no name here."""
    ip: Json = facts["ip"] if isinstance(facts.get("ip"), dict) else facts
    number = ip.get("protocol")
    named = facts.get("protocol_name")
    if named is None and isinstance(number, int):
        named = PROTOCOL_NAMES.get(number)
    return str(named or ("?" if number is None else number))


def _ports(transport: Json) -> bool:
    return transport.get("source_port") is not None


def _transport(facts: Json, transport: Json) -> str:
    protocol = protocol_name(facts).upper()
    source, destination = transport.get("source_port"), transport.get("destination_port")
    if source is None and destination is None:
        port = facts.get("conntrack_destination_port")
        if port is None:
            return protocol
        carried = f" ({_CARRIED[port]})" if protocol == "UDP" and port in _CARRIED else ""
        return f"{protocol} ?>{port}~{carried}"
    return f"{protocol} {_text(source)} > {_text(destination)}"


def _icmp(transport: Json) -> str:
    if "code" not in transport or "type" not in transport:
        return ""
    ident = transport.get("id")
    return f"type {transport['type']} code {transport['code']}" + (
        f" id {ident}" if ident is not None else ""
    )


def _fragment(ip: Json) -> str:
    offset, more = ip.get("fragment_offset"), ip.get("more_fragments")
    if not offset and not more:
        return ""
    return f"fragment at {offset}, " + ("more follow" if more else "the last")


def _missing(facts: Json) -> str:
    count = facts.get("missing_bytes")
    return f"{count} bytes beyond the buffer" if count else ""


def _tunnel(facts: Json) -> Iterator[str]:
    tunnel = facts.get("tunnel")
    if not isinstance(tunnel, dict):
        return
    kind = str(tunnel["kind"])
    number = tunnel.get("id")
    ident = f" {_ID.get(kind, 'id')} {number}" if number is not None else ""
    yield f"in it {_TUNNELS.get(kind, kind)}{ident}"
    inner = facts.get("inner")
    if isinstance(inner, dict):
        yield from _inner(inner)
    elif "inner" in facts.get("absent", {}):
        yield f"what it carries: {facts['absent']['inner']}"


def _inner(inner: Json) -> Iterator[str]:
    ethernet = inner.get("ethernet")
    if isinstance(ethernet, dict):
        yield f"Ethernet {ethernet['source']} > {ethernet['destination']}"
    yield from vlan_words(inner.get("vlans"))
    packet = inner.get("packet")
    if isinstance(packet, dict):
        yield from _packet(packet)
    elif isinstance(ethernet, dict):
        number = ethernet["protocol"]
        yield ETHER_TYPE_NAMES.get(number, f"protocol {number:#06x}")


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return "?" if value is None else str(value)


def _named(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    return "" if value is None else f"{name} {value}"


def _identification(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return f"id {value:#06x}" if isinstance(value, int) else ""


def _checksum(of: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    word = _CHECKSUMS.get(str(value))
    return f"{of} checksum {word}" if word else ""
