"""Values of a report made from drgn objects, with the commands that read them again."""

from __future__ import annotations

from drgn import Object

from crashkit.decode.skb_packet import Packet
from crashkit.value import Certainty, Origin, Reread, Value


def expression(obj: Object) -> str:
    """Return a ``crashkit shell`` expression for a pointer, e.g. ``Object(prog, 'T *', 0x…)``.

    :param obj: any pointer
    """
    return f"Object(prog, {obj.type_.type_name()!r}, {int(obj):#x})"


def pointer_value(name: str, obj: Object, origin: Origin, certainty: Certainty) -> Value:
    """Make a Value of a pointer to a structure.

    :param obj: ``struct T *``
    """
    kind = obj.type_.type.type_name().removeprefix("const ")
    return Value(
        name=name,
        value=int(obj),
        origin=origin,
        certainty=certainty,
        ctype=obj.type_.type_name(),
        reread=Reread(crash=f"{kind} {int(obj):016x}", crashkit=expression(obj)),
    )


def member_value(name: str, obj: Object, path: str, value: int | str) -> Value:
    """Make a Value of a structure's member.

    :param obj: ``struct T *``
    :param path: the member as drgn reaches it, e.g. ``ct_general.use``
    :param value: what was read there
    """
    tag = obj.type_.type.tag
    first = path.split(".", 1)[0].split("[", 1)[0]
    return Value(
        name=name,
        value=value,
        origin=Origin.MEMORY,
        address=int(obj),
        reread=Reread(
            crash=f"struct -x {tag}.{first} {int(obj):016x}", crashkit=f"{expression(obj)}.{path}"
        ),
    )


def packet_text(packet: Packet) -> str:
    """Return a packet's protocol, addresses and ports on one line."""
    ports = (packet.source_port, packet.destination_port)
    sport, dport = ("" if port is None else f":{port}" for port in ports)
    return f"{packet.protocol_name} {packet.source}{sport} > {packet.destination}{dport}"
