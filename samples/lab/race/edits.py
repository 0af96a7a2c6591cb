"""Give Debian's nf_conntrack back the order of steps it had in 3.10, and widen one window.

Three files are copied out of the kernel source and edited in place; structures keep their layout.
README.md explains each edit.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

#: Microseconds a CPU waits, while it sets up an entry, between clearing and writing ct_net.
WIDEN_ALLOC_US = 20


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change to one file."""

    #: File in ``net/netfilter``.
    file: str
    #: What the change does.
    reason: str
    #: Name of the function it is made in; empty for the whole file.
    function: str
    #: Regular expression that matches once in the function.
    anchor: str
    #: Template for ``re.sub``; ``\g<0>`` is the anchor itself.
    replacement: str


CONFIRM_WITHOUT_FETCH = """\
static unsigned int confirm_without_fetch(struct sk_buff *skb)
{
	struct nf_conn *ct = (struct nf_conn *)skb_nfct(skb);
	unsigned int verdict = NF_ACCEPT;

	if (!ct)
		return verdict;
	if (!nf_ct_is_confirmed(ct))
		verdict = __nf_conntrack_confirm(skb);
	if (verdict == NF_ACCEPT)
		nf_ct_deliver_cached_events(ct);
	return verdict;
}

"""

EDITS = (
    Edit(
        file="nf_conntrack_proto.c",
        reason="the confirm hook keeps ct in a local and does not read skb->_nfct again",
        function="nf_confirm",
        anchor=r"\A",
        replacement=CONFIRM_WITHOUT_FETCH,
    ),
    Edit(
        file="nf_conntrack_proto.c",
        reason="and uses that copy",
        function="nf_confirm",
        anchor=r"return nf_conntrack_confirm\(skb\);",
        replacement="return confirm_without_fetch(skb);",
    ),
    Edit(
        file="nf_conntrack_core.c",
        reason="the allocator clears the entry from status on, ct_net included",
        function="__nf_conntrack_alloc",
        anchor=r"\tspin_lock_init\(&ct->lock\);\n",
        replacement=r"\tmemset_startat(ct, 0, status);\n\tbarrier();\n\g<0>",
    ),
    Edit(
        file="nf_conntrack_core.c",
        reason="declare udelay()",
        function="",
        anchor=r"\n#include <linux/types.h>\n",
        replacement=r"\g<0>#include <linux/delay.h>\n",
    ),
    Edit(
        file="nf_conntrack_core.c",
        reason="widening: it waits before it writes ct_net",
        function="__nf_conntrack_alloc",
        anchor=r"\twrite_pnet\(&ct->ct_net, net\);\n",
        replacement=r"\tif (WIDEN_ALLOC_US)\n\t\tudelay(WIDEN_ALLOC_US);\n\g<0>",
    ),
    Edit(
        file="nf_conntrack_ecache.c",
        reason="event delivery asks the namespace for a listener before it looks at the entry",
        function="nf_ct_deliver_cached_events",
        anchor=r"\tif \(!nf_ct_is_confirmed\(ct\)",
        replacement=(
            r"\tif (!rcu_access_pointer(nf_ct_net(ct)->ct.nf_conntrack_event_cb))\n"
            r"\t\treturn;\n\g<0>"
        ),
    ),
    Edit(
        file="nf_conntrack_core.c",
        reason="no clash is resolved when a queued packet comes back, before it is confirmed",
        function="nf_conntrack_update",
        anchor=r"\tct = nf_ct_get\(skb, &ctinfo\);\n\tif \(!ct\)\n",
        replacement=r"\treturn 0;\n\g<0>",
    ),
)


def apply(edit: Edit, text: str) -> str:
    """Return *text*, a C file, with *edit* made.

    :raises ValueError: the function or the anchor is not there exactly once
    """
    start, end = _function_span(edit.function, text) if edit.function else (0, len(text))
    body, count = re.subn(edit.anchor, edit.replacement, text[start:end])
    if count != 1:
        raise ValueError(f"{edit.file}: {edit.function}() has {count} of {edit.anchor!r}, not 1")
    return text[:start] + body + text[end:]


def copy_module_source(netfilter: Path, target: Path) -> None:
    """Copy nf_conntrack's part of *netfilter* (``net/netfilter``) to *target* and edit it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in (*netfilter.glob("nf_conntrack_*.c"), *netfilter.glob("*.h")):
        shutil.copy(path, target)
    for edit in EDITS:
        path = target / edit.file
        path.write_text(apply(edit, path.read_text()))
    (target / "Kbuild").write_text(kbuild((netfilter / "Makefile").read_text()))


def kbuild(makefile: str) -> str:
    """Return the lines of net/netfilter's *makefile* that nf_conntrack.ko is made of."""
    joined = makefile.replace("\\\n", " ").splitlines()
    kept = [line for line in joined if re.match(r"nf_conntrack-[y$]", line)]
    bpf = "nf_conntrack-$(CONFIG_DEBUG_INFO_BTF_MODULES) += nf_conntrack_bpf.o"
    parts = [line for line in kept if "nf_conntrack_bpf.o" not in line]
    flags = f"ccflags-y := -DWIDEN_ALLOC_US={WIDEN_ALLOC_US}"
    return "\n".join(["obj-m := nf_conntrack.o", flags, *parts, bpf, ""])


# From the line that opens the definition to the brace in the first column that closes it.
def _function_span(name: str, text: str) -> tuple[int, int]:
    opening = rf"^(?:[a-z][\w *]*\s)?\**{name}\((?:[^;{{]*)\)\n\{{\n(?:.*\n)*?\}}\n"
    found = list(re.finditer(opening, text, re.MULTILINE))
    if len(found) != 1:
        raise ValueError(f"{len(found)} definitions of {name}(), not 1")
    return found[0].span()
