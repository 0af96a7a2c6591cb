"""Who has the memory, as text: what was asked for, then each use with its counter."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json

_PAGE = 4096
_LEAST = 5.0
# Uses below so many per cent are named together, and opened up only with -v.
_DETAILS = 2


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render who has the memory."""
    use = section["use"]
    total = use["total_pages"]
    zones = ", ".join(f"{zone['name']} {size(zone['managed'])}" for zone in use["zones"])
    lines = wrap(f"MEMORY {size(total)} managed by the kernel ({total} pages: {zones})",
                 WIDTH, " " * 7, "")  # fmt: skip
    lines += _request(section)
    rest: list[Json] = []
    for row in _rows(use):
        if not verbose and abs(_percent(row["pages"], total)) < _LEAST:
            rest.append(row)
            continue
        lines.append(_row(row["pages"], total, row["name"], row["origin"]))
        lines += _inside(row["key"], section, 10 if verbose else _DETAILS)
    if rest:
        start = _row(sum(row["pages"] for row in rest), total, "", "")
        names = ", ".join(f"{row['name']} {size(row['pages'])}" for row in rest)
        lines += wrap(names, WIDTH, " " * 22, start)
    lines += _unread(use)
    lines += _processes(section, verbose)
    return lines + (_agreement(section) + _zones(use) if verbose else [])


def _rows(use: Json) -> list[Json]:
    # What nothing counts stands where its size puts it.
    left = use["unaccounted_pages"]
    name = "counted by nothing" if left >= 0 else "counted twice"
    origin = "the total less the rest"
    rows = [row for row in use["consumers"] if row["pages"]]
    rows.append({"key": "unaccounted", "name": name, "pages": left, "origin": origin})
    return sorted(rows, key=lambda row: -row["pages"])


def size(pages: int) -> str:
    """Write pages of 4096 bytes in KiB, MiB or GiB."""
    number = float(abs(pages) * _PAGE)
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1000 or unit == "GiB":
            break
    text = f"{number:.0f}" if unit == "KiB" else f"{number:.1f}"
    return f"{'-' * (pages < 0)}{text} {unit}"


def _percent(pages: int, total: int) -> float:
    return 100 * pages / total if total else 0.0


def _row(pages: int, total: int, name: str, origin: str) -> str:
    start = f"{size(pages):>12} {_percent(pages, total):5.1f}%  {name}"
    room = WIDTH - len(start) - 2
    return start + origin.rjust(room + 2) if 0 < len(origin) <= room else start[:WIDTH]


def _request(section: Json) -> list[str]:
    request = section["request"]
    if request is None:
        return wrap(section["failure"], WIDTH, " " * 7) if section["failure"] else []
    parts = []
    order = request["order"]
    if order is not None:
        count = 1 << order if 0 <= order < 32 else 0
        pages = f"{count} page{'s' * (count > 1)} (order {order})"
        by = f" by {section['requester']}" if section["requester"] else ""
        parts.append("asked for by a person (sysrq f)" if order < 0 else f"asked for {pages}{by}")
    if request["gfp_flags"]:
        parts.append(f"{request['gfp_flags']} ({request['gfp_mask']:#x})")
    if request["constraint"]:
        where = {"none": "the whole system"}.get(request["constraint"], request["constraint"])
        parts.append(f"ran out: {where}{_memcg(request)}")
    if request["chosen"]:
        parts.append(f"to be killed: {request['chosen_comm']} ({request['chosen_pid']})")
    if section["killed"]:
        parts.append(f"killed before: {section['killed']}")
    if section["panic_on_oom"] is not None:
        parts.append(f"vm.panic_on_oom {section['panic_on_oom']}")
    return wrap("; ".join(parts), WIDTH, " " * 7)


def _memcg(request: Json) -> str:
    if not request["memcg"]:
        return ""
    used, limit = request["memcg_usage"], request["memcg_limit"]
    of = "" if used is None or limit is None else f" ({size(used)} of {size(limit)})"
    return f" {request['memcg']}{of}"


def _inside(key: str, section: Json, most: int) -> Iterator[str]:
    makers = {
        "slab_unreclaimable": _slab_words(section, reclaimable=False),
        "slab_reclaimable": _slab_words(section, reclaimable=True),
        "shmem": _file_words(section, ("tmpfs", "rootfs", "devtmpfs")),
        "page_cache": _file_words(section, ("ramfs",)),
        "vmalloc": _vmalloc_words(section),
        "unaccounted": [
            "by alloc_pages() directly; a kernel booted with page_owner=on records by whom"
        ],
    }
    for words in makers.get(key, [])[:most]:
        first, *others = wrap(words, WIDTH, " " * 26, " " * 22)
        yield first
        yield from others[:1]


def _slab_words(section: Json, *, reclaimable: bool) -> list[str]:
    words = []
    for cache in (section["slabs"] or {}).get("caches", ()):
        if cache["reclaimable"] is not reclaimable:
            continue
        aliases = cache["aliases"] or ()
        also = f" (also {', '.join(aliases[:3])}{', ...' * (len(aliases) > 3)})"
        room = f"room for {cache['objects']}" if cache["used"] is None else (
            f"{cache['used']} of {cache['objects']}"
        )  # fmt: skip
        objects = f"{room} objects of {cache['object_size']} bytes"
        words.append(f"{size(cache['pages'])}  {cache['name']}{also * bool(aliases)}: {objects}")
    return words


def _file_words(section: Json, kinds: tuple[str, ...]) -> list[str]:
    words = []
    for system in section["file_systems"] or ():
        if system["kind"] not in kinds:
            continue
        files = ", ".join(
            f"{one['path'] or 'without a name'} {size(one['pages'])}" for one in system["files"][:2]
        )
        least = "" if system["complete"] else "at least "
        words.append(f"{least}{size(system['pages'])}  {system['kind']}: {files}")
    return words


def _vmalloc_words(section: Json) -> list[str]:
    return [
        f"{size(one['pages'])}  {one['name'] or one['caller']}, areas: {one['areas']}"
        for one in section["vmalloc"] or ()
        if not (one["name"] or "").startswith(("kernel_clone", "dup_task", "copy_process"))
    ]


def _unread(use: Json) -> list[str]:
    missing = [row["name"] for row in use["consumers"] if row["pages"] is None]
    return wrap(f"not read, and so in it: {', '.join(missing)}", WIDTH, " " * 21) if missing else []


def _processes(section: Json, verbose: int) -> list[str]:
    found = section["processes"]
    if found is None or not found["processes"]:
        return []
    words = [
        f"{one['comm']} ({one['pid']}) {size(one['rss'])}"
        + f" (anon {size(one['anon'])}, shared {size(one['shmem'])})" * bool(verbose)
        for one in found["processes"][: 10 if verbose else 3]
    ]
    which = f"largest of {found['number']} processes"
    if found["number"] == 1:
        which = "the only process"
    return wrap(f"{which}: {'; '.join(words)}", WIDTH, " " * 7)


def _agreement(section: Json) -> list[str]:
    lines = []
    if section["corroborated"]:
        lines += wrap(
            f"as the kernel printed: {', '.join(section['corroborated'])}", WIDTH, " " * 7
        )
    for one in section["changed"]:
        words = f"{one['name']}: printed {one['printed']}, now {one['read']} pages"
        lines += wrap(words, WIDTH, " " * 7)
    return lines


def _zones(use: Json) -> list[str]:
    lines = []
    for zone in use["zones"]:
        orders = " ".join(str(count) for count in zone["free_by_order"])
        words = (f"node {zone['node']} {zone['name']}: free {zone['free']}, min"
                 f" {zone['watermark_min']} pages; free blocks by order: {orders}")  # fmt: skip
        lines += wrap(words, WIDTH, " " * 9, " " * 7)
    return lines
