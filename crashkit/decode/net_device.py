"""``struct net_device``: name, addresses, state, namespace."""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.linux.net import for_each_netdev, netdev_name

from crashkit.decode.fields import (
    Absent,
    Fields,
    naming,
    net_pointer,
    pointer,
    printable,
)
from crashkit.decode.netns import namespaces
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded, read_bytes
from crashkit.value import facts

MAX_DEVICES = 65536
_MAX_ADDR_LEN = 32  # include/linux/netdevice.h

FLAG_NAMES = {
    0: "UP", 1: "BROADCAST", 2: "DEBUG", 3: "LOOPBACK", 4: "POINTOPOINT", 5: "NOTRAILERS",
    6: "RUNNING", 7: "NOARP", 8: "PROMISC", 9: "ALLMULTI", 10: "MASTER", 11: "SLAVE",
    12: "MULTICAST", 13: "PORTSEL", 14: "AUTOMEDIA", 15: "DYNAMIC", 16: "LOWER_UP",
    17: "DORMANT", 18: "ECHO",
}  # fmt: skip
"""Bit of ``net_device.flags`` to name (include/uapi/linux/if.h)."""

OPERSTATE_NAMES = {
    0: "UNKNOWN", 1: "NOTPRESENT", 2: "DOWN", 3: "LOWERLAYERDOWN", 4: "TESTING",
    5: "DORMANT", 6: "UP",
}  # fmt: skip
"""``net_device.operstate`` (RFC 2863, include/uapi/linux/if.h)."""

REG_STATE_NAMES = {
    0: "UNINITIALIZED", 1: "REGISTERED", 2: "UNREGISTERING", 3: "UNREGISTERED",
    4: "RELEASED", 5: "DUMMY",
}  # fmt: skip
"""``net_device.reg_state`` (include/linux/netdevice.h)."""


@facts
class NetDevice:
    """Facts of a ``struct net_device``. A None field has its reason in ``absent``."""

    address: int
    name: str | None
    """Escaped."""
    ifindex: int | None
    hardware_address: str | None
    """``dev_addr`` as xx:xx:..., empty for devices without one."""
    flags: int | None
    """IFF_... bits."""
    operstate: int | None
    reg_state: int | None
    mtu: int | None
    """Bytes."""
    net: int | None
    """``dev->nd_net``, ``struct net *``."""
    absent: Absent


def decode_net_device(dev: Object) -> NetDevice:
    """Decode a network device.

    :param dev: ``struct net_device *``
    :raises Unavailable: it is no kernel pointer, or nothing of it is in the dump
    """
    address = pointer(dev, "struct net_device")
    fields = Fields(f"struct net_device {address:#x}")
    return NetDevice(
        address=address,
        name=fields.take("name", lambda: printable(netdev_name(dev))),
        ifindex=fields.number("ifindex", dev, "ifindex"),
        hardware_address=fields.take("hardware_address", lambda: _hardware_address(dev)),
        flags=fields.number("flags", dev, "flags"),
        operstate=fields.number("operstate", dev, "operstate"),
        reg_state=fields.number("reg_state", dev, "reg_state"),
        mtu=fields.number("mtu", dev, "mtu"),
        net=fields.take("net", lambda: net_pointer(dev.nd_net)),
        absent=fields.reasons(),
    )


def _hardware_address(dev: Object) -> str:
    length = int(dev.addr_len.value_())
    if length > _MAX_ADDR_LEN:
        raise Unavailable("dev_addr", Reason.CORRUPTED, f"addr_len is {length}")
    if not length:
        return ""
    start = int(dev.dev_addr.value_())
    return read_bytes(dev.prog_, start, length, "dev_addr").hex(":")


def is_device_name(raw: bytes) -> bool:
    """Whether bytes can be an interface's name (net/core/dev.c: dev_valid_name()).

    Narrower than the kernel: printable ASCII only.
    """
    return 0 < len(raw) < 16 and all(0x21 <= byte < 0x7F and byte not in b"/:" for byte in raw)


def is_registered(prog: Program, address: int) -> bool:
    """Whether a device is in the device list of one of the registered namespaces.

    :param address: of a ``struct net_device``
    :raises Unavailable: it was not found and the lists could not be read to their ends
    """
    devices, missing = _registered_devices(prog)
    if address not in devices and missing is not None:
        raise Unavailable(f"device {address:#x}", missing.reason, str(missing))
    return address in devices


def _registered_devices(prog: Program) -> tuple[set[int], Unavailable | None]:
    # All device addresses, and why the walk ended early; a dump does not change, so kept.
    cached = prog.cache.get("crashkit.netdevs")
    if cached is None:
        devices: set[int] = set()
        cached = prog.cache["crashkit.netdevs"] = (devices, _collect_devices(prog, devices))
    found: tuple[set[int], Unavailable | None] = cached
    return found


def _collect_devices(prog: Program, devices: set[int]) -> Unavailable | None:
    try:
        with naming("list of network devices"):
            for net in namespaces(prog):
                walk = for_each_netdev(net)
                devices.update(d.value_() for d in bounded(walk, MAX_DEVICES, "dev_base_head"))
    except Unavailable as missing:
        return missing
    return None
