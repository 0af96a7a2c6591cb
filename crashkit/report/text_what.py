"""What a panic was about, in a sentence, from the section of ``panic.facts`` that tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from crashkit.report.columns import bare
from crashkit.report.parts import Json
from crashkit.report.text_oom import size
from crashkit.report.text_places import place, task_name


def told_by_section(document: Json) -> str | None:
    """Say it; None where no section of this panic tells more than the kernel's message."""
    facts = document["panic"]["facts"]
    for key, words in _WORDS.items():
        if facts.get(key) is not None:
            said = words(facts[key])
            if said is not None:
                return said
    return None


def _refcount(section: Json) -> str | None:
    message = (section["message"] or "").rstrip(".")
    if section["address"] is None or not message:
        return None
    counter = f"refcount_t {bare(section['address'])}"
    by = ""
    for one in section["containing"][:1]:
        member = f".{one['member']}" if one["member"] else ""
        counter = f"({one['ctype']} {bare(one['object'])}){member}"
        by = f", found in {one['function']}()"
    return f"the reference counter {counter}: {message}{by}"


def _usercopy(section: Json) -> str | None:
    one = section["object"]
    if one is None or None in (section["size"], section["offset"]):
        return None
    past = f": {section['beyond']} bytes too many" if section["beyond"] else ""
    way = section["direction"] or "to or from user"
    return (
        f"a copy of {section['size']} bytes {way} space was refused: from offset"
        f" {section['offset']} of a {one['cache_name']} object of {one['object_size']} bytes{past}"
    )


def _list(section: Json) -> str | None:
    verb = {"add": "added to", "delete": "removed from"}.get(section["operation"])
    if verb is None:
        return None
    wrong = [_link(link) for link in section["links"] if link["holds"] is False]
    wrong += [
        f"{node['role']}->{side} is {node[f'{side}_words'].partition(':')[0]}"
        for node in section["nodes"]
        for side in ("next", "prev")
        if node[f"{side}_words"]
    ]
    if not wrong:
        return None
    return f"an entry was to be {verb} a list whose links do not fit: {' and '.join(wrong[:2])}"


def _link(link: Json) -> str:
    return f"{link['expression']} is {bare(link['now'])}, should be {bare(link['expected'])}"


def _slab(section: Json) -> str | None:
    report = section["report"]
    where = f"object {bare(report['object'])} of {report['cache_name']}"
    if section["double_free"]:
        return f"{where} was freed while a free list has it"
    for area in report["areas"]:
        for one in area["differences"]:
            count = f"{one['length']} byte{'s' * (one['length'] > 1)}"
            text = f", {one['text'][:32]!r}," if one["text"] else ""
            return f"{section['what']}: {count}{text} at +{one['offset']} of {where}"
    return None


def _bad_page(section: Json) -> str | None:
    page = section["page"]
    which = f"page {bare(page['page'])} (pfn {page['pfn']:#x})" if page else "a page"
    why = section["why"] or "the kernel did not print why"
    return f"the page allocator refused {which}, for its state: {why}"


def _atomic(section: Json) -> str | None:
    if section["place"] is None:
        return None
    called = f", called by {section['callers'][0]}()" if section["callers"] else ""
    who = task_name({"task": None, **section})
    return f"{who} slept in {place(section['place'])}{called}, where it must not"


def _init(section: Json) -> str | None:
    program = section["process"] or {}
    name = program.get("arguments") or program.get("comm")
    ran = f", {name}," if name else ""
    if section["signal"]:
        return f"the first process{ran} was ended by {section['signal']}"
    if section["status"] is not None:
        return f"the first process{ran} exited by itself with status {section['status']}"
    return None


def _mce(section: Json) -> str | None:
    for one in section["records"][:1]:
        at = f" at physical {bare(one['address'])}" if one["address"] is not None else ""
        more = len(section["records"]) - 1
        also = f", and {more} more record{'s' * (more > 1)}" if more else ""
        return f"CPU {one['cpu']}, bank {one['bank']}: {one['status']['words']}{at}{also}"
    return None


def _nmi(section: Json) -> str | None:
    told = [name for name, value in section["settings"].items() if value and name != "absent"]
    if not told:
        return None
    return f"its cause is {section['cause'] or 'not known'}, and kernel.{told[0]} makes it a panic"


def _oom(section: Json) -> str | None:
    use, request = section["use"], section["request"]
    if request and request["constraint"] == "memcg" and request["memcg"]:
        return _of_cgroup(section, request)
    if not use or not use["total_pages"]:
        return None
    rows = [
        (row["pages"] or 0, _consumer(row, section))
        for row in use["consumers"]
        if row["key"] != "free"
    ]
    rows.append((use["unaccounted_pages"], "pages that no counter has"))
    pages, name = max(rows)
    share = f"{size(pages)} ({100 * pages // use['total_pages']} %)"
    return f"the largest part of {size(use['total_pages'])} is {name}: {share}"


def _consumer(row: Json, section: Json) -> str:
    # With who has more than half of it, where that is known.
    pages, name = max(_parts(row["key"], section), default=(0, None))
    most = name is not None and 2 * pages > (row["pages"] or 0)
    return f"{row['name']}, most of it {name}" if most else str(row["name"])


def _parts(key: str, section: Json) -> Iterator[tuple[int, str]]:
    if key.startswith("slab_"):
        for one in (section["slabs"] or {}).get("caches", ()):
            if one["reclaimable"] is (key == "slab_reclaimable"):
                yield one["pages"], one["name"]
    elif key == "vmalloc":
        for one in section["vmalloc"] or ():
            yield one["pages"], f"by {one['name'] or bare(one['caller'])}"
    elif key == "shmem":
        for one in section["file_systems"] or ():
            yield one["pages"], f"files of {one['kind']}"
    elif key == "anonymous":
        for one in (section["processes"] or {}).get("processes") or ():
            yield one["anon"], f"of {task_name(one)}"


def _of_cgroup(section: Json, request: Json) -> str:
    said = f"it is the memory of cgroup {request['memcg']}"
    if request["memcg_limit"] is not None:
        said += f", limited to {size(request['memcg_limit'])}"
    tasks = (section["processes"] or {}).get("processes") or []
    if tasks:
        said += f"; the largest process is {task_name(tasks[0])} with {size(tasks[0]['rss'])}"
    return said


def _stack(section: Json) -> str | None:
    canary = section["canary"]
    if canary is None or not canary["function"]:
        return None
    # The canary is the frame's; who wrote over it, nothing tells.
    return (
        f"a buffer in the stack frame of {canary['function']}() was written past its end, by it or"
        " by a function it called"
    )


def _sysrq(section: Json) -> str | None:
    by = section["by"]
    if not by:
        return None
    uid = f", uid {by['uid']}" if by["uid"] is not None else ""
    command = f": {by['arguments']}" if by["arguments"] else ""
    return f"it was {by['comm']} (pid {by['pid']}{uid}){command}"


_WORDS: Mapping[str, Callable[[Json], str | None]] = {
    "refcount": _refcount,
    "usercopy": _usercopy,
    "list": _list,
    "slab": _slab,
    "bad_page": _bad_page,
    "atomic": _atomic,
    "init": _init,
    "mce": _mce,
    "nmi": _nmi,
    "oom": _oom,
    "stack": _stack,
    "sysrq": _sysrq,
}
