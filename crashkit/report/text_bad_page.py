"""A page in a state it cannot be in, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render the page and why the allocator refused it."""
    lines = [f"bad page {section['what']}: {section['why'] or 'the reason was not printed'}"]
    page = section["page"]
    if page is None:
        return labelled("PAGE", lines)
    lines.append(f"struct page {bare(page['page'])}, pfn {page['pfn']:#x}: refcount"
                 f" {page['refcount']}, mapcount {page['mapcount']},"
                 f" flags {page['flag_names']}")  # fmt: skip
    if page["mapping"]:
        identity = f" ({page['mapping_identity']})" if page["mapping_identity"] else ""
        lines.append(f"mapping {bare(page['mapping'])}{identity}")
    if section["corroborated"] is False:
        lines.append("its reference count is not the one printed: it has been used since")
    return labelled("PAGE", lines)
