"""No verdict survives the loss of the values it rests on."""

from __future__ import annotations

import pytest

from crashkit.decode import for_each_queue, for_each_queue_entry
from crashkit.decode.conntrack_slab import conntrack_slabs, skb_slabs
from crashkit.decode.conntrack_unhashed import unhashed_by_keeper
from crashkit.finding import Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe
from tests.samples.conftest import open_sample, read_toml, required_pages

pytestmark = pytest.mark.sample

NAME = "clash-ct-net"


def verdict(*masked: int) -> Finding | None:
    """Run the recipe with these addresses' pages taken out of the dump."""
    (recipe,) = (r for r in load_recipes().recipes if NAME in r.meta.matches)
    with open_sample(NAME, masked) as crash:
        found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def is_confirmed(found: Finding | None) -> bool:
    return found is not None and found.verdict is Verdict.CONFIRMED


def test_unmasked_is_confirmed() -> None:
    assert is_confirmed(verdict())


def test_every_page_a_required_value_was_read_from_matters() -> None:
    found = verdict()
    assert found is not None
    pages = required_pages(found)
    assert len(pages) >= 3
    for page in pages:
        masked = verdict(page)
        assert not is_confirmed(masked), f"page {page:#x} did not matter"
        assert masked is None or masked.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("table", "key", "unread"),
    [
        ("ct", "address", "winner-confirmed"),
        ("skb", "address", "ct-differs"),
    ],
)
def test_masked_object_makes_its_check_unread(table: str, key: str, unread: str) -> None:
    expected = read_toml(NAME, "expected.toml")
    found = verdict(int(expected[table][key], 0))
    assert found is not None
    check = next(c for c in found.checks if c.id == unread)
    assert check.holds is None
    assert check.why_not
    assert found.verdict is Verdict.INCONCLUSIVE


def test_masked_code_leaves_the_expression_unknown() -> None:
    pc = int(read_toml(NAME, "expected.toml")["panic"]["pc"], 0)
    found = verdict(pc)
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert next(c for c in found.checks if c.id == "net-null").holds is None


FULL = "table-full"


def full_verdict(*masked: int) -> Finding | None:
    """Run the recipe of the full table with these addresses' pages taken out of the dump."""
    recipe = load_recipes().find("nf-conntrack-table-full")
    assert recipe is not None
    with open_sample(FULL, masked) as crash:
        found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def places_of_the_full_table() -> dict[str, int]:
    """One address of each kind of thing that the verdict on the full table is made of."""
    with open_sample(FULL) as crash:
        prog = crash.prog
        kept = unhashed_by_keeper(prog, int(prog["init_net"].address_of_()))
        slabs = (*conntrack_slabs(prog), *skb_slabs(prog)[:1])
        (queued,) = (queue for queue in for_each_queue(prog, prog["init_net"].address_of_()))
        places = {f"entry, {name}": found[0].entry.address for name, found in kept.items()}
        places["skb"] = kept["leak"][0].holders.found[0].address
        places["bucket"] = int(prog["nf_conntrack_hash"].value_())
        places["queue entry"] = int(next(for_each_queue_entry(queued)).value_())
        for number, cache in enumerate(slabs):
            places[f"slab descriptor {number}"] = int(cache.slabs[0].page.value_())
            places[f"cache {number}"] = int(cache.cache.value_())
    return places


def test_every_page_of_the_full_table_matters() -> None:
    assert is_confirmed(full_verdict())
    places = places_of_the_full_table()
    assert len(places) == 10
    for what, address in places.items():
        found = full_verdict(address)
        assert found is not None, what
        assert found.verdict is Verdict.INCONCLUSIVE, what
        assert found.to_settle, what


def test_values_of_the_full_table_matter() -> None:
    found = full_verdict()
    assert found is not None
    pages = required_pages(found)
    assert len(pages) >= 2
    for page in pages:
        masked = full_verdict(page)
        assert masked is not None
        assert masked.verdict is Verdict.INCONCLUSIVE
