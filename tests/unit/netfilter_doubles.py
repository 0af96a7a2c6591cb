"""Netfilter types of two kernels: Debian 6.1 and CentOS 7, where the decoders look."""

from __future__ import annotations

from drgn import Object, sizeof

from tests.unit.kernel_doubles import Kernel


def _common(kernel: Kernel) -> None:
    kernel.struct("atomic", 4, ("counter", "int", 0))
    kernel.typedef("atomic_t", "struct atomic")
    kernel.struct("refcount_struct", 4, ("refs", "atomic_t", 0))
    kernel.typedef("refcount_t", "struct refcount_struct")
    kernel.struct(
        "list_head", 16, ("next", "struct list_head *", 0), ("prev", "struct list_head *", 8)
    )
    kernel.struct(
        "hlist_node", 16, ("next", "struct hlist_node *", 0), ("pprev", "struct hlist_node **", 8)
    )
    kernel.struct("hlist_head", 8, ("first", "struct hlist_node *", 0))
    kernel.struct(
        "hlist_nulls_node",
        16,
        ("next", "struct hlist_nulls_node *", 0),
        ("pprev", "struct hlist_nulls_node **", 8),
    )
    kernel.struct("hlist_nulls_head", 8, ("first", "struct hlist_nulls_node *", 0))
    _tuples(kernel)
    kernel.struct("sock", 8, ("sk_state", "u64", 0))
    kernel.struct(
        "skb_shared_info",
        64,
        ("nr_frags", "u8", 2),
        ("gso_size", "u16", 4),
        ("gso_segs", "u16", 6),
        ("frag_list", "struct sk_buff *", 8),
    )
    kernel.struct("kmem_cache", 64, ("name", "char *", 0), ("object_size", "u32", 8))


def _tuples(kernel: Kernel) -> None:
    kernel.union("nf_inet_addr", 16, ("all", "__be32 [4]", 0), ("ip", "__be32", 0))
    kernel.struct("icmp_source", 2, ("id", "__be16", 0))
    kernel.struct("icmp_destination", 2, ("type", "u8", 0), ("code", "u8", 1))
    kernel.struct("gre_part", 2, ("key", "__be16", 0))
    kernel.union(
        "man_proto",
        2,
        ("all", "__be16", 0),
        ("icmp", "struct icmp_source", 0),
        ("gre", "struct gre_part", 0),
    )
    kernel.union(
        "dst_proto",
        2,
        ("all", "__be16", 0),
        ("icmp", "struct icmp_destination", 0),
        ("gre", "struct gre_part", 0),
    )
    kernel.struct(
        "nf_conntrack_man",
        20,
        ("u3", "union nf_inet_addr", 0),
        ("u", "union man_proto", 16),
        ("l3num", "u16", 18),
    )
    kernel.struct(
        "tuple_dst",
        20,
        ("u3", "union nf_inet_addr", 0),
        ("u", "union dst_proto", 16),
        ("protonum", "u8", 18),
        ("dir", "u8", 19),
    )
    kernel.struct(
        "nf_conntrack_tuple",
        40,
        ("src", "struct nf_conntrack_man", 0),
        ("dst", "struct tuple_dst", 20),
    )
    kernel.struct(
        "nf_conntrack_tuple_hash",
        56,
        ("hnnode", "struct hlist_nulls_node", 0),
        ("tuple", "struct nf_conntrack_tuple", 16),
    )
    kernel.struct("ip_ct_tcp", 8, ("state", "u8", 4))
    kernel.union("nf_conntrack_proto", 64, ("tcp", "struct ip_ct_tcp", 0))


def modern_kernel() -> Kernel:
    """A kernel with the layouts of Debian's 6.1 where the decoders look."""
    kernel = Kernel()
    _common(kernel)
    kernel.struct("possible_net", 8, ("net", "struct net *", 0))
    kernel.typedef("possible_net_t", "struct possible_net")
    kernel.struct("nf_conntrack", 4, ("use", "refcount_t", 0))
    kernel.struct("nf_conntrack_zone", 4, ("id", "u16", 0), ("flags", "u8", 2), ("dir", "u8", 3))
    kernel.struct("nf_ct_ext", 16, ("offset", "u8 [8]", 0))
    kernel.struct(
        "nf_conn",
        248,
        ("ct_general", "struct nf_conntrack", 0),
        ("timeout", "u32", 8),
        ("zone", "struct nf_conntrack_zone", 12),
        ("tuplehash", "struct nf_conntrack_tuple_hash [2]", 16),
        ("status", "unsigned long", 128),
        ("ct_net", "possible_net_t", 136),
        ("master", "struct nf_conn *", 160),
        ("mark", "u32", 168),
        ("ext", "struct nf_ct_ext *", 176),
        ("proto", "union nf_conntrack_proto", 184),
    )
    kernel.enum(
        "ip_conntrack_status", IPS_CONFIRMED_BIT=3, IPS_UNTRACKED_BIT=12, IPS_NAT_CLASH=4096
    )
    kernel.struct(
        "sk_buff",
        232,
        ("dev", "struct net_device *", 16),
        ("sk", "struct sock *", 24),
        ("_nfct", "unsigned long", 104),
        ("len", "u32", 112),
        ("data_len", "u32", 116),
        ("pkt_type", "u8", 128, 0, 3),
        ("ip_summed", "u8", 128, 5, 2),
        ("protocol", "__be16", 180),
        ("transport_header", "u16", 182),
        ("network_header", "u16", 184),
        ("mac_header", "u16", 186),
        ("tail", "sk_buff_data_t", 188),
        ("end", "sk_buff_data_t", 192),
        ("head", "unsigned char *", 200),
        ("data", "unsigned char *", 208),
        ("users", "refcount_t", 220),
    )
    _net_types(kernel, "possible_net_t")
    kernel.struct("netns_ct", 64, ("stat", "struct ip_conntrack_stat *", 24))
    kernel.struct("ns_common", 24, ("inum", "u32", 16), ("count", "refcount_t", 20))
    kernel.struct("net_generic_s", 24, ("len", "u32", 0))
    kernel.struct("net_generic", 24, ("s", "struct net_generic_s", 0), ("ptr", "void *[0]", 0))
    kernel.struct("nf_conntrack_net", 16, ("count", "atomic_t", 0))
    _net(kernel)
    kernel.struct(
        "nf_hook_state",
        56,
        ("hook", "u8", 0),
        ("pf", "u8", 1),
        ("in", "struct net_device *", 8),
        ("out", "struct net_device *", 16),
        ("net", "struct net *", 32),
    )
    kernel.struct(
        "nf_queue_entry",
        112,
        ("list", "struct list_head", 0),
        ("skb", "struct sk_buff *", 16),
        ("id", "u32", 24),
        ("hook_index", "u32", 28),
        ("state", "struct nf_hook_state", 48),
    )
    _queue_types(kernel, "peer_portid")
    return kernel


def el7_kernel() -> Kernel:
    """A kernel with the layouts of 3.10.0-1160.el7 where they are known, older members else."""
    kernel = Kernel()
    _common(kernel)
    kernel.struct("nf_conntrack", 4, ("use", "atomic_t", 0))
    kernel.struct("nf_conntrack_zone", 2, ("id", "u16", 0))
    kernel.struct(
        "timer_list", 80, ("entry", "struct list_head", 0), ("expires", "unsigned long", 16)
    )
    kernel.struct("nf_ct_ext", 32, ("offset", "u16 [6]", 16))
    kernel.enum("nf_ct_ext_id", NF_CT_EXT_HELPER=0, NF_CT_EXT_NAT=1, NF_CT_EXT_ZONE=4)
    kernel.struct(
        "nf_conn",
        0x138,
        ("ct_general", "struct nf_conntrack", 0),
        ("cpu", "u16", 8),
        ("tuplehash", "struct nf_conntrack_tuple_hash [2]", 0x10),
        ("status", "unsigned long", 0x80),
        ("master", "struct nf_conn *", 0x88),
        ("timeout", "struct timer_list", 0x90),
        ("mark", "u32", 0xE0),
        ("ext", "struct nf_ct_ext *", 0xE8),
        ("ct_net", "struct net *", 0xF0),
        ("proto", "union nf_conntrack_proto", 0xF8),
    )
    kernel.enum("ip_conntrack_status", IPS_CONFIRMED_BIT=3, IPS_UNTRACKED_BIT=12)
    kernel.struct(
        "sk_buff",
        232,
        ("dev", "struct net_device *", 32),
        ("sk", "struct sock *", 24),
        ("len", "u32", 104),
        ("data_len", "u32", 108),
        ("ip_summed", "u8", 124, 2, 2),
        ("nfctinfo", "u8", 124, 5, 3),
        ("pkt_type", "u8", 125, 0, 3),
        ("protocol", "__be16", 126),
        ("nfct", "struct nf_conntrack *", 136),
        ("transport_header", "u16", 190),
        ("network_header", "u16", 192),
        ("mac_header", "u16", 194),
        ("tail", "sk_buff_data_t", 196),
        ("end", "sk_buff_data_t", 200),
        ("head", "unsigned char *", 208),
        ("data", "unsigned char *", 216),
        ("users", "atomic_t", 228),
    )
    _net_types(kernel, "struct net *")
    kernel.struct(
        "netns_ct",
        128,
        ("count", "atomic_t", 0),
        ("htable_size", "u32", 8),
        ("stat", "struct ip_conntrack_stat *", 24),
        ("nf_conntrack_cachep", "struct kmem_cache *", 32),
        ("hash", "struct hlist_nulls_head *", 40),
    )
    kernel.struct("net_generic", 24, ("len", "u32", 0), ("ptr", "void *[0]", 24))
    _net(kernel)
    kernel.struct(
        "nf_queue_entry",
        64,
        ("list", "struct list_head", 0),
        ("skb", "struct sk_buff *", 16),
        ("id", "u32", 24),
        ("pf", "u8", 40),
        ("hook", "u32", 44),
        ("indev", "struct net_device *", 48),
        ("outdev", "struct net_device *", 56),
    )
    _queue_types(kernel, "peer_pid")
    return kernel


def _net_types(kernel: Kernel, net_type: str) -> None:
    kernel.struct(
        "net_device",
        256,
        ("name", "char [16]", 0),
        ("flags", "u32", 16),
        ("mtu", "u32", 20),
        ("ifindex", "int", 24),
        ("operstate", "u8", 28),
        ("addr_len", "u8", 29),
        ("reg_state", "u8", 30, 0, 8),
        ("dev_addr", "unsigned char *", 32),
        ("dev_list", "struct list_head", 40),
        ("nd_net", net_type, 56),
    )
    kernel.struct(
        "ip_conntrack_stat",
        16,
        ("found", "u32", 0),
        ("insert_failed", "u32", 4),
        ("drop", "u32", 8),
    )


def _net(kernel: Kernel) -> None:
    modern = ("ns", "struct ns_common", 16)
    older = ("proc_inum", "u32", 16)
    has_ns = kernel.knows("ns_common")
    kernel.struct(
        "net",
        512,
        ("count", "atomic_t", 4),
        modern if has_ns else older,
        ("list", "struct list_head", 48),
        ("dev_base_head", "struct list_head", 64),
        ("gen", "struct net_generic *", 80),
        ("ct", "struct netns_ct", 128),
    )


def _queue_types(kernel: Kernel, port_member: str) -> None:
    kernel.struct("nfnl_queue_net", 40, ("instance_table", "struct hlist_head [4]", 8))
    kernel.struct(
        "nfqnl_instance",
        96,
        ("hlist", "struct hlist_node", 0),
        (port_member, "u32", 32),
        ("queue_maxlen", "u32", 36),
        ("queue_num", "u16", 48),
        ("queue_total", "u32", 56),
        ("queue_list", "struct list_head", 64),
    )


GOLDEN_HEADER = bytes.fromhex("45000066972000004011 57be 0a4c3b9e 0a4c3b73")
"""The IPv4 header printed in the clash article: 10.76.59.158 > 10.76.59.115, UDP, 102 bytes."""


def udp(source: int, destination: int, payload: bytes, check: int = 0) -> bytes:
    """A UDP segment."""
    numbers = (source, destination, 8 + len(payload), check)
    return b"".join(n.to_bytes(2, "big") for n in numbers) + payload


GOLDEN_PACKET = GOLDEN_HEADER + udp(41000, 4789, bytes(74))


def ens192(kernel: Kernel, address: int | None = None) -> Object:
    """A ``struct net_device`` named ens192."""
    mac = kernel.prog.type("struct net_device")
    device = kernel.allocate(
        "struct net_device",
        address,
        name=b"ens192",
        flags=0x1003,
        ifindex=2,
        mtu=1500,
        operstate=6,
        reg_state=1,
        addr_len=6,
    )
    hardware = device.value_() + sizeof(mac)
    kernel.put(hardware, bytes.fromhex("005056aabbcc"))
    kernel.set(device, {"dev_addr": hardware})
    return device


def skb_with(
    kernel: Kernel,
    packet: bytes,
    device: Object | None = None,
    address: int | None = None,
    head: int = 0xFFFF_893C_80FD_1400,
) -> Object:
    """An skb whose linear data is ``packet`` at network header 0xaa."""
    kernel.put(head, bytes(0x200))
    kernel.put(head + 0xAA, packet)
    shared = head + 0x200
    kernel.put(shared, bytes(64))
    return kernel.allocate(
        "struct sk_buff",
        address,
        dev=device.value_() if device is not None else 0,
        head=head,
        data=head + 0xAA,
        tail=0xAA + len(packet),
        end=0x200,
        len=len(packet),
        network_header=0xAA,
        transport_header=0xBE,
        mac_header=0xFFFF,
        protocol=0x0008 if packet[0] >> 4 == 4 else 0xDD86,
        users=b"\1\0\0\0",
    )


def udp_conntrack(kernel: Kernel, address: int | None = None, status: int = 8) -> Object:
    """The conntrack entry of the golden packet."""
    ct = kernel.allocate("struct nf_conn", address, status=status)
    here, there = bytes.fromhex("0a4c3b9e"), bytes.fromhex("0a4c3b73")
    for direction, (source, destination) in enumerate([(here, there), (there, here)]):
        ports = [(41000).to_bytes(2, "big"), (4789).to_bytes(2, "big")]
        if direction:
            ports.reverse()
        tuple_ = f"tuplehash[{direction}].tuple"
        kernel.set(
            ct,
            {
                f"{tuple_}.src.u3.all": source,
                f"{tuple_}.src.u.all": ports[0],
                f"{tuple_}.src.l3num": 2,
                f"{tuple_}.dst.u3.all": destination,
                f"{tuple_}.dst.u.all": ports[1],
                f"{tuple_}.dst.protonum": 17,
                f"{tuple_}.dst.dir": direction,
            },
        )
    kernel.set(ct, {"ct_general.use": b"\2\0\0\0"})
    return ct
