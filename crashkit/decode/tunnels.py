"""Tunnel headers from bytes: VXLAN, Geneve, GRE and what IP carries in IP.

Which UDP payload is a tunnel only its port says; the header's own fixed bits must agree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from crashkit.decode.link_headers import ETH_P_IP, ETH_P_IPV6, ETH_P_TEB, Read
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

VXLAN_PORTS = (4789, 8472)
"""IANA's, and the kernel's default (drivers/net/vxlan: vxlan_port)."""
GENEVE_PORT = 6081
_IPIP, _IPV6, _GRE, _ESP, _AH = 4, 41, 47, 50, 51
_VXLAN_I = 0x08  # RFC 7348: the VNI is valid
_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE = 0x8000, 0x2000, 0x1000  # RFC 2784, RFC 2890
_ERSPAN, _ERSPAN3 = 0x88BE, 0x22EB  # draft-foschiano-erspan: types II and III


@facts
class TunnelHeader:
    """What says that another packet, or sealed bytes, follow."""

    kind: str
    """vxlan, geneve, gre, erspan, ipip, 6in4, 4in6, 6in6, esp, ah."""
    id: int | None
    """VNI of VXLAN and Geneve, key of GRE, session of ERSPAN, SPI of ESP and AH."""
    protocol: int | None
    """ETH_P_... of what follows; ETH_P_TEB is an Ethernet frame; None: not to be read."""
    header_length: int
    """Bytes from the end of the IP header to what is carried."""
    sequence: int | None = None
    """Of GRE, ESP and AH."""


def parse_tunnel(
    protocol: int, version: int, ports: tuple[int, int] | None, read: Read
) -> TunnelHeader | None:
    """Parse what follows an IP header if it is a tunnel.

    :param protocol: IP protocol
    :param version: of the IP header before it
    :param ports: source and destination of UDP
    :param read: gives ``size`` bytes at ``offset`` from the end of the IP header, or raises
    :return: None when it is no tunnel that is known here
    """
    if protocol in (_IPIP, _IPV6):
        return _ip_in_ip(protocol, version)
    if protocol == _GRE:
        return _gre(read)
    if protocol in (_ESP, _AH):
        return _ipsec(protocol, read)
    if ports is None:
        return None
    return _udp(ports[1], read) or (_udp(ports[0], read) if ports[0] == GENEVE_PORT else None)


def _ip_in_ip(protocol: int, version: int) -> TunnelHeader:
    inner = 4 if protocol == _IPIP else 6
    kind = "ipip" if (inner, version) == (4, 4) else f"{inner}in{version}"
    ether_type = ETH_P_IP if inner == 4 else ETH_P_IPV6
    return TunnelHeader(kind=kind, id=None, protocol=ether_type, header_length=0)


def _gre(read: Read) -> TunnelHeader:
    flags, protocol = struct.unpack(">HH", read(0, 4))
    if flags & 7:
        # RFC 2637: version 1 is PPTP's, with a call id and PPP behind it
        return TunnelHeader(
            kind=f"gre version {flags & 7}", id=None, protocol=None, header_length=4
        )
    position, key, sequence = 4 + 4 * bool(flags & _GRE_CHECKSUM), None, None
    if flags & _GRE_KEY:
        (key,) = struct.unpack(">I", read(position, 4))
        position += 4
    if flags & _GRE_SEQUENCE:
        (sequence,) = struct.unpack(">I", read(position, 4))
        position += 4
    if protocol in (_ERSPAN, _ERSPAN3):
        return _erspan(protocol, position, sequence, read)
    return TunnelHeader(
        kind="gre", id=key, protocol=protocol, header_length=position, sequence=sequence
    )


def _erspan(protocol: int, position: int, sequence: int | None, read: Read) -> TunnelHeader:
    # Type I has no header of its own: it comes without a sequence number.
    if protocol == _ERSPAN and sequence is None:
        return TunnelHeader(kind="erspan", id=None, protocol=ETH_P_TEB, header_length=position)
    (session,) = struct.unpack(">H", read(position + 2, 2))
    size = 8 if protocol == _ERSPAN else 12
    if protocol == _ERSPAN3 and read(position + 11, 1)[0] & 1:  # O: platform subheader
        size += 8
    return TunnelHeader(
        kind="erspan",
        id=session & 0x3FF,
        protocol=ETH_P_TEB,
        header_length=position + size,
        sequence=sequence,
    )


def _ipsec(protocol: int, read: Read) -> TunnelHeader:
    at = 0 if protocol == _ESP else 4
    spi, sequence = struct.unpack(">II", read(at, 8))
    return TunnelHeader(
        kind="esp" if protocol == _ESP else "ah",
        id=spi,
        protocol=None,
        header_length=at + 8,
        sequence=sequence,
    )


def _udp(port: int, read: Read) -> TunnelHeader | None:
    parse = _UDP_TUNNELS.get(port)
    if parse is None:
        return None
    try:
        header = read(8, 8)
    except Unavailable as missing:
        if missing.reason in (Reason.CORRUPTED, Reason.NOT_APPLICABLE):
            return None  # a datagram too short to be one
        raise
    return parse(header)


def _vxlan(header: bytes) -> TunnelHeader | None:
    if header[0] != _VXLAN_I or header[7]:
        return None
    vni = int.from_bytes(header[4:7], "big")
    return TunnelHeader(kind="vxlan", id=vni, protocol=ETH_P_TEB, header_length=16)


def _geneve(header: bytes) -> TunnelHeader | None:
    # RFC 8926: version 0, options in words of four bytes
    if header[0] >> 6 or header[7]:
        return None
    return TunnelHeader(
        kind="geneve",
        id=int.from_bytes(header[4:7], "big"),
        protocol=int.from_bytes(header[2:4], "big"),
        header_length=16 + (header[0] & 0x3F) * 4,
    )


_UDP_TUNNELS: dict[int, Callable[[bytes], TunnelHeader | None]] = {
    **dict.fromkeys(VXLAN_PORTS, _vxlan),
    GENEVE_PORT: _geneve,
}
