"""File systems whose files are memory: tmpfs and its like, and their largest files."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program, container_of
from drgn.helpers.linux.list import list_for_each_entry

from crashkit.decode.fields import has_member, naming, printable, text_at
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_SUPER_BLOCKS = 10_000
MAX_INODES = 10_000
"""Inodes of all these file systems together that are looked at."""
_KINDS = ("tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs")
_MAX_PAGES = 1 << 40
_DEEPEST = 64
_LONGEST = 256


@facts
class MemoryFile:
    """One file in memory."""

    inode: int
    """``struct inode *``."""
    path: str | None
    """Within its file system, escaped; None: no name leads to it (memfd, deleted)."""
    pages: int


@facts
class MemoryFileSystem:
    """One file system in memory."""

    super_block: int
    """``struct super_block *``."""
    kind: str
    """Name of the file system's type."""
    name: str
    """``s_id``, escaped."""
    pages: int
    inodes: int
    """That were looked at."""
    files: tuple[MemoryFile, ...]
    """The largest ones."""
    complete: bool
    """All its inodes were looked at; else ``pages`` is a lower bound."""


def memory_file_systems(prog: Program, files: int = 5) -> tuple[MemoryFileSystem, ...]:
    """Read the file systems in memory, the one with the most pages first.

    :param files: how many files of each are named
    :raises Unavailable: the list of file systems is not in the dump
    """
    found: list[MemoryFileSystem] = []
    left = MAX_INODES
    with naming("file systems"):
        walk = list_for_each_entry(
            "struct super_block", prog["super_blocks"].address_of_(), "s_list"
        )
        for block in bounded(walk, MAX_SUPER_BLOCKS, "file systems"):
            kind = text_at(prog, int(block.s_type.name.value_()), 32)
            if kind not in _KINDS:
                continue
            one = _read(block, kind, left, files)
            left -= one.inodes
            found.append(one)
    return tuple(sorted((one for one in found if one.pages), key=lambda one: -one.pages))


def _read(block: Object, kind: str, left: int, files: int) -> MemoryFileSystem:
    sizes: list[tuple[int, Object]] = []
    complete = True
    try:
        for inode in bounded(_inodes(block), left, "inodes"):
            sizes.append((_pages(inode), inode))  # noqa: PERF401 - keeps those before a bad one
    except Unavailable:
        complete = False
    sizes.sort(key=lambda row: (-row[0], row[1].value_()))
    return MemoryFileSystem(
        super_block=int(block.value_()),
        kind=kind,
        name=printable(block.s_id.string_()),
        pages=sum(pages for pages, _inode in sizes),
        inodes=len(sizes),
        files=tuple(_file(pages, inode) for pages, inode in sizes[:files] if pages),
        complete=complete,
    )


def _inodes(block: Object) -> Iterator[Object]:
    with naming("inodes"):
        yield from list_for_each_entry("struct inode", block.s_inodes.address_of_(), "i_sb_list")


def _pages(inode: Object) -> int:
    with naming("an inode"):
        pages = int(inode.i_data.nrpages.value_())
    if not 0 <= pages < _MAX_PAGES:
        raise Unavailable("an inode", Reason.CORRUPTED, f"{pages} pages")
    return pages


def _file(pages: int, inode: Object) -> MemoryFile:
    try:
        with naming("a file's name"):
            path = _path(inode)
    except Unavailable:
        path = None
    return MemoryFile(inode=int(inode.value_()), path=path, pages=pages)


def _path(inode: Object) -> str | None:
    # drgn's inode_path() follows parents for as long as there are any.
    node = inode.i_dentry.first.read_()
    if not node:
        return None
    dentry = container_of(node, "struct dentry", _alias(node.prog_))
    names: list[str] = []
    while len(names) < _DEEPEST:
        parent = dentry.d_parent.read_()
        if not parent or parent.value_() == dentry.value_():
            return "/".join(reversed(names))[:_LONGEST]
        names.append(text_at(dentry.prog_, int(dentry.d_name.name.value_()), 128))
        dentry = parent
    raise Unavailable("a file's name", Reason.CORRUPTED, f"more than {_DEEPEST} directories")


def _alias(prog: Program) -> str:
    # include/linux/dcache.h: in a union that has lost its name in newer kernels
    dentry = Object(prog, "struct dentry *", 0)
    return "d_u.d_alias" if has_member(dentry, "d_u") else "d_alias"
