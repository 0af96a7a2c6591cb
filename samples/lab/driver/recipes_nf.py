"""The scenarios ``recipe-…`` of netfilter: one state for each recipe, and its look-alikes."""

from collections.abc import Callable

from driver.archive import cache_folder
from driver.initramfs import build_program
from driver.kernels import Kernel, build_module
from driver.scenarios import GUEST, Scenario

TABLE = GUEST.parent / "table"
FULL = (r"nf_queue: full at \d+ entries", r"lab: truth queue +1 ", r"sysrq: Trigger a crash")


def _parts(module: str, case: str, traffic: str) -> Callable[[Kernel], dict[str, bytes]]:
    def parts(kernel: Kernel) -> dict[str, bytes]:
        files = {
            "/lab/scenario.sh": (GUEST / "recipes_nf.sh").read_bytes(),
            "/lab/parameters": f"module={module} case={case} traffic={traffic}\n".encode(),
            "/bin/flood_table": build_program(TABLE / "flood.c"),
        }
        if traffic in ("stopped", "served", "working"):
            files["/bin/listener"] = build_program(GUEST / "recipes_nf_listener.c")
        if module:
            folder = cache_folder() / "modules" / kernel.release / module
            built = build_module(kernel, GUEST / f"{module}.c", folder)
            files[f"/lab/{module}.ko"] = built.read_bytes()
        return files

    return parts


def _connlimit(name: str, summary: str, case: str, opening: str) -> Scenario:
    return Scenario(
        name=f"recipe-ipt-connlimit-null{name}",
        summary=summary,
        expected=(opening, r"RIP: 0010:count_them\+\S+ \[ipt_connlimit\]"),
        parts=_parts("ipt_connlimit", case, "connections"),
    )


def _removal(name: str, summary: str, case: str, opening: str) -> Scenario:
    return Scenario(
        name=f"recipe-nf-conntrack-uninit-removal{name}",
        summary=summary,
        expected=(opening, r"RIP: 0010:__nf_ct_delete_from_lists\+\S+ \[nf_conntrack\]"),
        parts=_parts("recipes_nf", case, "datagram"),
    )


def _helper(name: str, summary: str, case: str, opening: str) -> Scenario:
    return Scenario(
        name=f"recipe-nf-confirm-cthelper-null{name}",
        summary=summary,
        expected=(opening, r"RIP: 0010:nf_confirm_cthelper\+\S+ \[recipes_nf\]"),
        parts=_parts("recipes_nf", case, "datagram"),
    )


def _truncation(name: str, summary: str, case: str) -> Scenario:
    return Scenario(
        name=f"recipe-nfqueue-truncate{name}",
        summary=summary,
        expected=(r"kernel BUG at net/core/skbuff\.c", r"nfqnl_recv_verdict\+"),
        parts=_parts("recipes_nf", case, "echo_request"),
    )


def _backlog(name: str, summary: str, traffic: str) -> Scenario:
    return Scenario(
        name=f"recipe-nfqueue-backlog{name}",
        summary=summary,
        expected=FULL,
        parts=_parts("", "", traffic),
    )


NULL = r"BUG: kernel NULL pointer dereference, address: "
PAGE_FAULT = r"BUG: unable to handle page fault for address: "
PROTECTION = r"general protection fault"

RECIPES_NF = (
    _connlimit("", "the 2.6 connlimit's short circuit: found, but found_ct is NULL", "null", NULL),
    _connlimit("-lookalike", "the same function reads another member of NULL", "member", NULL),
    _connlimit("-lookalike-bad", "the same read, of a poisoned pointer", "bad", PROTECTION),
    _removal("", "an entry that is in no table is deleted as if confirmed", "uninit", NULL),
    _removal(
        "-lookalike",
        "an entry of the table whose pprev is a poison is deleted",
        "uninit-poison",
        PROTECTION,
    ),
    _removal(
        "-lookalike-small",
        "an entry of the table whose pprev is a small number is deleted",
        "uninit-small",
        PAGE_FAULT,
    ),
    _helper("", "a helper's flags are read where there is no helper", "helper", NULL),
    _helper("-lookalike", "the helper is read where there is no room for one", "helper-none", NULL),
    _helper("-lookalike-bad", "the flags of a poisoned helper are read", "helper-bad", PROTECTION),
    _truncation("", "a queue gives back a packet cut to one byte", "truncate"),
    _truncation(
        "-lookalike", "the same BUG: fragments are counted, and are not there", "truncate-frag"
    ),
    _backlog("", "a full nfnetlink queue whose listener is stopped", "stopped"),
    _backlog("-lookalike", "a queue that was full, and is served again", "served"),
    _backlog("-lookalike-working", "a full queue whose listener is at work", "working"),
)
