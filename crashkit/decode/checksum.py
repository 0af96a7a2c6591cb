"""What a transport checksum says, given who was to fill it in."""

from __future__ import annotations

from drgn import Object
from drgn.helpers.linux.net import skb_shinfo

from crashkit.decode.fields import has_member, member, naming
from crashkit.decode.skb import CHECKSUM_PARTIAL
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts


@facts
class Pending:
    """The checksum that a device is still to fill in (CHECKSUM_PARTIAL), if any."""

    at: int | None = None
    """Address of the transport header whose checksum it is; None: none, or not known which."""
    field_at: int | None = None
    """Address of that checksum's two bytes."""
    unknown: bool = False
    """One is pending and the kernel does not tell which."""
    segments: bool = False
    """The packet is to be cut up (GSO): lengths and outer checksums are made then."""

    def covers(self, address: int) -> bool:
        """Whether the checksum of the header at ``address`` is pending."""
        return self.unknown or self.at == address

    def inside(self, start: int, end: int) -> bool:
        """Whether the header it belongs to begins within ``start`` to ``end``."""
        return self.at is not None and start < self.at < end

    def require_final(self) -> None:
        """Refuse a checksum of a packet that is not in its final form.

        :raises Unavailable: the packet is to be cut up
        """
        if self.segments:
            raise Unavailable(
                "transport checksum", Reason.NOT_APPLICABLE, "made when the packet is cut up (GSO)"
            )


def pending_checksum(skb: Object) -> Pending:
    """Read which checksum of an skb is still to be filled in.

    ``csum_start`` is the offset from ``head`` of the header it belongs to
    (include/linux/skbuff.h: "Checksumming on output").

    :param skb: ``struct sk_buff *``
    """
    with naming("skb->ip_summed"):
        shared = skb_shinfo(skb)
        segments = has_member(shared, "gso_size") and bool(shared.gso_size.value_())
        if int(member(skb, "ip_summed").value_()) != CHECKSUM_PARTIAL:
            return Pending(segments=segments)
        if not has_member(skb, "csum_start"):
            return Pending(unknown=True, segments=segments)
        at = int(skb.head.value_()) + int(skb.csum_start.value_())
        field_at = at + int(skb.csum_offset.value_())
        return Pending(at=at, field_at=field_at, segments=segments)
