"""A list whose links did not fit, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render the list around the entry: each node, what it holds, which link is wrong."""
    what = {"add": "an entry was to be added", "delete": "an entry was to be removed"}
    wrong = section["wrong"]
    said = "" if wrong is None else f"; found wrong: {wrong}"
    if wrong == "entry":
        said = "; found wrong: the entry is one of its neighbours already"
    lines = [f"{what.get(section['operation'])}{said}"]
    for node in section["nodes"]:
        lines.append(_node(node, section["origin"].get(node["role"], "")))
        lines += [f"{node['role']}->{side}: {node[f'{side}_words']}"
                  for side in ("next", "prev") if node[f"{side}_words"]]  # fmt: skip
    lines += [_link(link) for link in section["links"] if not link["holds"]]
    if section["links"] and all(link["holds"] for link in section["links"]):
        lines.append("the links fit now: they changed since, or memory was read before they did")
    missing = [role for role in ("entry", "prev", "next") if role in section.get("absent", {})]
    if missing:
        lines.append(f"not known: {', '.join(missing)}")
    return labelled("LIST", [*lines, *(f"CONFLICT: {one}" for one in section["conflicts"])])


def _node(node: Json, origin: str) -> str:
    identity = f" ({node['identity']})" if node["identity"] else ""
    where = f"{node['role']} {bare(node['address'])}{identity}, by the {origin}"
    if node["next"] is None:
        return f"{where}: not in the dump"
    return f"{where}: next {bare(node['next'])}, prev {bare(node['prev'])}"


def _link(link: Json) -> str:
    if link["holds"] is None:
        return f"{link['expression']}: not in the dump"
    identity = f" ({link['now_identity']})" if link["now_identity"] else ""
    words = f"{link['expression']} is {bare(link['now'])}{identity}"
    return f"{words}, should be {bare(link['expected'])}"
