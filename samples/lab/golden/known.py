"""What the report prints: addresses, registers, stack words, members."""

from __future__ import annotations

RELEASE = "3.10.0-1160.el7.x86_64"
PID = 5027
CPU = 1
COMM = "Verdict3"
TASK = 0xFFFF893CAD135280
THREAD_INFO = 0xFFFF893C4F524000
THREAD_SIZE = 0x4000

REGISTERS = {
    "R15": 0x0, "R14": 0xFFFFFFFFA0367E40, "R13": 0xFFFF893C9491A500, "R12": 0xFFFF893CA41E5140,
    "RBP": 0xFFFF893C4F527850, "RBX": 0xFFFF893CA41E5140, "R11": 0xFFFF893CA41E5140, "R10": 0x1,
    "R9": 0xFFFF893CA41E5178, "R8": 0x0, "RAX": 0x0, "RCX": 0xFFFFFFFFA035DE80,
    "RDX": 0xFFFF893C4F527FD8, "RSI": 0x200, "RDI": 0xFFFF893CA41E5140,
    "ORIG_RAX": 0xFFFFFFFFFFFFFFFF, "RIP": 0xFFFFFFFFC086077D, "CS": 0x10, "EFLAGS": 0x10246,
    "RSP": 0xFFFF893C4F527810, "SS": 0x18,
}  # fmt: skip
"""At the exception. The rest of what a note holds (FS_BASE …) is not used."""

USER_REGISTERS = {
    "R15": 0xBC0B0C00, "R14": 0x0, "R13": 0x7FBDA1D769A0, "R12": 0x7FBD8C001B40,
    "RBP": 0x7FBDA1D769D0, "RBX": 0x1, "R11": 0x293, "R10": 0xFFFFFFFFFFFFF8C9,
    "R9": 0x7FBDAC0B9140, "R8": 0x8, "RAX": 0x2E, "RCX": 0x7FBDA1D76A00, "RDX": 0x0,
    "RSI": 0x7FBDA1D76940, "RDI": 0x9, "ORIG_RAX": 0x2E, "RIP": 0x7FBDAC77BCBD, "CS": 0x33,
    "EFLAGS": 0x206, "RSP": 0x7FBDA1D76968, "SS": 0x2B,
}  # fmt: skip
"""At the system call; pt_regs lies at the top of the stack."""

FRAMES = (
    (0xFFFF893C4F527488, 0xFFFFFFFF9F666294, "machine_kexec"),
    (0xFFFF893C4F5274E8, 0xFFFFFFFF9F722562, "__crash_kexec"),
    (0xFFFF893C4F5275B8, 0xFFFFFFFF9F722650, "crash_kexec"),
    (0xFFFF893C4F5275D0, 0xFFFFFFFF9FD8B798, "oops_end"),
    (0xFFFF893C4F5275F8, 0xFFFFFFFF9F675D14, "no_context"),
    (0xFFFF893C4F527648, 0xFFFFFFFF9F675FE2, "__bad_area_nosemaphore"),
    (0xFFFF893C4F527698, 0xFFFFFFFF9FD7A058, "bad_area"),
    (0xFFFF893C4F5276C0, 0xFFFFFFFF9FD8E8B7, "__do_page_fault"),
    (0xFFFF893C4F527730, 0xFFFFFFFF9FD8E975, "do_page_fault"),
    (0xFFFF893C4F527760, 0xFFFFFFFF9FD8A778, "page_fault"),
    (0xFFFF893C4F527858, 0xFFFFFFFFC08372CE, "ipv4_confirm"),
    (0xFFFF893C4F527878, 0xFFFFFFFF9FC94E38, "nf_iterate"),
    (0xFFFF893C4F5278B8, 0xFFFFFFFF9FC96240, "nf_reinject"),
    (0xFFFF893C4F5278F8, 0xFFFFFFFFC0A48566, "nfqnl_recv_verdict"),
    (0xFFFF893C4F527960, 0xFFFFFFFFC09B03A2, "nfnetlink_rcv_msg"),
    (0xFFFF893C4F527A60, 0xFFFFFFFF9FC9249B, "netlink_rcv_skb"),
    (0xFFFF893C4F527A88, 0xFFFFFFFFC09B089F, "nfnetlink_rcv"),
    (0xFFFF893C4F527B08, 0xFFFFFFFF9FC91E20, "netlink_unicast"),
    (0xFFFF893C4F527B50, 0xFFFFFFFF9FC921C8, "netlink_sendmsg"),
    (0xFFFF893C4F527BD8, 0xFFFFFFFF9FC343A6, "sock_sendmsg"),
    (0xFFFF893C4F527D38, 0xFFFFFFFF9FC35269, "___sys_sendmsg"),
    (0xFFFF893C4F527ED0, 0xFFFFFFFF9FC36921, "__sys_sendmsg"),
    (0xFFFF893C4F527F40, 0xFFFFFFFF9FC36972, "SyS_sendmsg"),
    (0xFFFF893C4F527F50, 0xFFFFFFFF9FD93F92, "system_call_fastpath"),
)
"""Slot, return address and function, as ``bt`` lists them."""

STARTS = {
    "nf_ct_deliver_cached_events": 0xFFFFFFFFC0860750,
    "nf_iterate": 0xFFFFFFFF9FC94DA0,
}
"""Where ``dis`` begins; the other starts are a return address less the oops's offset."""

OFFSETS = {
    "ipv4_confirm": 0x4E, "nf_reinject": 0x160, "nfqnl_recv_verdict": 0x216,
    "nfnetlink_rcv_msg": 0x162, "netlink_rcv_skb": 0xAB, "nfnetlink_rcv": 0x28F,
    "netlink_unicast": 0x170, "netlink_sendmsg": 0x308, "sock_sendmsg": 0xB6,
    "___sys_sendmsg": 0x3E9, "__sys_sendmsg": 0x51, "SyS_sendmsg": 0x12,
    "system_call_fastpath": 0x25,
}  # fmt: skip

OBJECTS = {
    "init_net": 0xFFFFFFFFA0315E40,
    "nf_hooks": 0xFFFFFFFFA0367D00,
}
STEXT, END = 0xFFFFFFFF9F600000, 0xFFFFFFFFA0600000
"""Bounds of the kernel's image: made up, around what is printed."""
MADE_UP = {
    "ipv4_conntrack_ops": 0xFFFFFFFFC0839000,
    "swapper_pg_dir": 0xFFFFFFFFA0410000,
    "log_buf": 0xFFFFFFFFA0320000,
    "log_buf_len": 0xFFFFFFFFA0320008,
    "log_first_idx": 0xFFFFFFFFA032000C,
    "log_next_idx": 0xFFFFFFFFA0320010,
    "log_first_seq": 0xFFFFFFFFA0320018,
}
"""Places that the report does not print. The dump needs them to be a dump at all, and to
hold the log; of ipv4_conntrack_ops the report prints the name only."""
LOG_TEXT = 0xFFFF893C40000000
"""Made up, too."""

FAULTING_CT = 0xFFFF893CA41E5140
SKB = 0xFFFF893C9491A500
SKB_CT = 0xFFFF893C7FC96B40
DEVICE = 0xFFFF893C358B8000
DEVICE_NAME = b"ens192"
HEAD = 0xFFFF893C80FD1400
NETWORK_HEADER = 0xAA
IP_HEADER = bytes.fromhex("45 00 0066 9720 0000 40 11 57be 0a4c3b9e 0a4c3b73")

STACK_WORDS = {
    0xFFFF893C4F527888: 0x8D72C81,
    0xFFFF893C4F527898: 0x1,
    0xFFFF893C4F5278A0: SKB,
    0xFFFF893C4F5278C8: 0x8D72C81,
    0xFFFF893C4F5278D0: 0xFFFF893C4F527968,
    0xFFFF893C4F5278D8: 0x1,
}
"""Words that ``bt -Fsf`` and ``rd`` print as numbers."""
STACK_OPS = (0xFFFF893C4F527880, 0xFFFF893C4F5278C0)
"""Words that it prints as ``ipv4_conntrack_ops+288``."""
OPS_OFFSET = 288

PRINTED_OFFSETS = {
    "nf_conn": {
        "ct_general": 0x0, "lock": 0x4, "cpu": 0x8, "tuplehash": 0x10, "status": 0x80,
        "master": 0x88, "timeout": 0x90, "mark": 0xE0, "secmark": 0xE4, "ext": 0xE8,
        "ct_net": 0xF0, "proto": 0xF8,
    },
    "net": {"ct.nf_conntrack_event_cb": 0xA30},
}  # fmt: skip
NF_CONN_SIZE = 0x138
