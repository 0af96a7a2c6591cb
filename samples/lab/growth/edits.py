"""Take commit 21d033e47273 out of a kernel's nf_conncount again.

"netfilter: nf_conncount: increase the connection clean up limit to 64": the collection that adding
an entry makes stops after 9 entries instead of 65, and is not made twice in one tick.
"""

import re
import shutil
from pathlib import Path

SOURCE = "nf_conncount.c"
HEADER = "nf_conntrack_count.h"

# File, what must be there that often, what it becomes. The header is copied beside the C file: no
# other module looks at the member that goes, and the structure's size stays (it ends in padding).
_EDITS = (
    (SOURCE, r"<net/netfilter/nf_conntrack_count\.h>", f'"{HEADER}"', 1),
    (SOURCE, r"#define CONNCOUNT_GC_MAX_COLLECT\s+64\n", "", 1),
    (SOURCE, r" &&\n\s+\(list->count - list->last_gc_count\) < CONNCOUNT_GC_MAX_COLLECT\)", ")", 1),
    (SOURCE, r"> CONNCOUNT_GC_MAX_COLLECT\)", "> CONNCOUNT_GC_MAX_NODES)", 2),
    (SOURCE, r"\tlist->last_gc_count = [^;]+;\n", "", 3),
    (HEADER, r"\tunsigned int last_gc_count;.*\n", "", 1),
)


def copy_module_source(tree: Path, target: Path) -> None:
    """Copy nf_conncount out of the kernel source *tree* to *target* and edit it there.

    :raises ValueError: the source is not what the edits were written for
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(tree / "net/netfilter" / SOURCE, target)
    shutil.copy(tree / "include/net/netfilter" / HEADER, target)
    for file, pattern, replacement, times in _EDITS:
        path = target / file
        text, count = re.subn(pattern, replacement, path.read_text())
        if count != times:
            raise ValueError(f"{file} has {count} of {pattern!r}, not {times}")
        path.write_text(text)
    (target / "Kbuild").write_text("obj-m := nf_conncount.o\n")
