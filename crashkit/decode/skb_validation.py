"""Is it an skb? The tests a person makes before trusting an address.

A test annotates a candidate; none of them, nor all together, proves anything.
"""

from __future__ import annotations

from drgn import Object
from drgn.helpers.linux.net import netdev_name

from crashkit.decode.fields import Absent, Fields, pointer
from crashkit.decode.ip_headers import Checksum, Ipv4Header
from crashkit.decode.net_device import is_device_name, is_registered
from crashkit.decode.skb import data_address
from crashkit.decode.skb_packet import Packet, decode_packet
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address
from crashkit.value import facts


@facts
class SkbValidation:
    """Outcome of each test. None: not made, with the reason in ``absent``."""

    address: int
    device_named: bool | None
    """``skb->dev->name`` can be an interface's name."""
    device_registered: bool | None
    """``skb->dev`` is in a namespace's device list."""
    buffer_ordered: bool | None
    """head <= data <= tail <= end, all in the kernel half."""
    lengths_agree: bool | None
    """tail - data == len - data_len."""
    ip_header: bool | None
    """The network header starts an IPv4 (ihl >= 5) or IPv6 header."""
    ip_checksum: bool | None
    """The IPv4 header sums to 0xffff."""
    ip_length: bool | None
    """The IP length is not more than the skb holds from the network header on."""
    absent: Absent

    @property
    def plausible(self) -> bool:
        """No test fails, the buffer is in order, and the device or the checksum agrees.

        Where the dump lacks the buffer's bounds, device and checksum both agree.
        """
        tests = (
            self.device_named,
            self.device_registered,
            self.buffer_ordered,
            self.lengths_agree,
            self.ip_header,
            self.ip_checksum,
            self.ip_length,
        )
        strong = self.device_registered is True or self.ip_checksum is True
        if self.buffer_ordered is None:
            strong = self.device_named is True and self.ip_checksum is True
        return False not in tests and strong


def validate_skb(skb: Object) -> SkbValidation:
    """Test whether a candidate can be a socket buffer.

    :param skb: ``struct sk_buff *``; any value
    """
    address = int(skb.value_())
    fields = Fields(f"struct sk_buff {address:#x}")
    packet: Packet | None = fields.take("ip_header", lambda: decode_packet(skb))
    return SkbValidation(
        address=address,
        device_named=fields.take("device_named", lambda: is_device_name(_device_name(skb))),
        device_registered=fields.take(
            "device_registered", lambda: is_registered(skb.prog_, _device(skb).value_())
        ),
        buffer_ordered=fields.take("buffer_ordered", lambda: _buffer_ordered(skb)),
        lengths_agree=fields.take("lengths_agree", lambda: _lengths_agree(skb)),
        ip_header=_has_ip_header(packet, fields),
        ip_checksum=fields.take("ip_checksum", lambda: _ip_checksum(packet)),
        ip_length=fields.take("ip_length", lambda: _ip_length(skb, packet)),
        absent=fields.absent,
    )


def _device(skb: Object) -> Object:
    device = skb.dev.read_()
    if not device:
        raise Unavailable("device", Reason.NOT_APPLICABLE, "skb->dev is NULL")
    return device


def _device_name(skb: Object) -> bytes:
    device = _device(skb)
    return netdev_name(device) if is_kernel_address(device.value_()) else b""


def _buffer_ordered(skb: Object) -> bool:
    pointer(skb, "struct sk_buff")
    head, data = int(skb.head.value_()), int(skb.data.value_())
    tail, end = data_address(skb, "tail"), data_address(skb, "end")
    return is_kernel_address(head) and head <= data <= tail <= end and is_kernel_address(end)


def _lengths_agree(skb: Object) -> bool:
    linear = data_address(skb, "tail") - int(skb.data.value_())
    return linear == int(skb.len.value_()) - int(skb.data_len.value_())


def _has_ip_header(packet: Packet | None, fields: Fields) -> bool | None:
    if packet is not None:
        return True
    why = fields.absent["ip_header"]
    if why.reason is Reason.CORRUPTED:
        del fields.absent["ip_header"]
        return False
    return None


def _ip_checksum(packet: Packet | None) -> bool:
    if packet is None or not isinstance(packet.ip, Ipv4Header):
        raise Unavailable("IPv4 checksum", Reason.NOT_APPLICABLE, "no IPv4 header")
    if packet.ip.checksum is Checksum.ZERO:
        raise Unavailable("IPv4 checksum", Reason.NOT_APPLICABLE, "not filled in")
    return packet.ip.checksum is Checksum.VALID


def _ip_length(skb: Object, packet: Packet | None) -> bool:
    if packet is None:
        raise Unavailable("IP length", Reason.NOT_APPLICABLE, "no IP header")
    if not packet.ip.total_length:  # over 64 KiB: the length is skb->len alone (BIG TCP)
        raise Unavailable("IP length", Reason.NOT_APPLICABLE, "the header gives none")
    before_data = int(skb.data.value_()) - packet.network_header
    held = before_data + int(skb.len.value_())
    return packet.ip.header_length <= packet.ip.total_length <= held
