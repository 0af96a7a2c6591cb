"""``struct nf_conncount_data``: the trees of lists that one rule of connlimit keeps."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from crashkit.decode.conncount_layout import Layouts, packed
from crashkit.decode.conncount_memory import Pages
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address
from crashkit.value import facts

MAX_NODES = 4_000_000
"""Tree nodes of one ``nf_conncount_data`` that are followed."""
_WHAT = "connlimit tree"


@facts
class TreeNode:
    """A ``struct nf_conncount_rb``."""

    address: int
    list: int
    """``struct nf_conncount_list *``"""
    key: tuple[int, ...]
    """Words as they lie in memory, as many as the key has."""


@facts
class TreeHead:
    """The fixed part of a ``struct nf_conncount_data``."""

    address: int
    key_words: int
    net: int
    """``struct net *``"""
    gc_worker: int
    """Address in ``gc_work.func``."""


class TreeReader:
    """Reads the trees of one program."""

    def __init__(self, pages: Pages, layouts: Layouts) -> None:
        """Make a reader."""
        self._pages = pages
        self._layouts = layouts
        self._node = packed(
            (
                (layouts.rb_right, "Q"),
                (layouts.rb_left, "Q"),
                (layouts.rb_key, f"{4 * layouts.key_words}s"),
            )
        )
        self._right_first = layouts.rb_right < layouts.rb_left

    def head(self, address: int) -> TreeHead:
        """Read the fixed part.

        :raises Unavailable: it is not in the dump, or its key length cannot be
        """
        layouts = self._layouts
        what = "struct nf_conncount_data"
        words = int.from_bytes(self._pages.read(address + layouts.keylen, 4, what), "little")
        if not 0 < words <= layouts.key_words:
            raise Unavailable(what, Reason.CORRUPTED, f"a key of {words} words")
        net = int.from_bytes(self._pages.read(address + layouts.net, 8, what), "little")
        at = address + layouts.gc_work_function
        worker = int.from_bytes(self._pages.read(at, 8, what), "little")
        return TreeHead(address=address, key_words=words, net=net, gc_worker=worker)

    def nodes(self, head: TreeHead) -> Iterator[TreeNode]:
        """Yield every node of every tree once.

        :raises Unavailable: a tree cannot be followed to its ends
        """
        layouts = self._layouts
        raw = self._pages.read(
            head.address + layouts.root, layouts.slots * layouts.root_size, _WHAT
        )
        seen: set[int] = set()
        for slot in range(layouts.slots):
            root = struct.unpack_from("<Q", raw, slot * layouts.root_size)[0]
            if root:
                yield from self._tree(root, head.key_words, seen)

    def _tree(self, root: int, words: int, seen: set[int]) -> Iterator[TreeNode]:
        # A node that comes twice is in a cycle, or in two trees.
        layouts = self._layouts
        waiting = [root]
        while waiting:
            at = waiting.pop()
            if not is_kernel_address(at) or at in seen:
                raise Unavailable(_WHAT, Reason.CORRUPTED, f"a node at {at:#x}")
            if len(seen) >= MAX_NODES:
                raise Unavailable(_WHAT, Reason.BUDGET, f"more than {MAX_NODES} nodes")
            seen.add(at)
            node = at - layouts.rb_node
            first, second, key = self._pages.unpack(self._node, node, _WHAT)
            right, left = (first, second) if self._right_first else (second, first)
            waiting += [child for child in (right, left) if child]
            yield TreeNode(
                address=node,
                list=node + layouts.rb_list,
                key=struct.unpack_from(f"<{words}I", key),
            )
