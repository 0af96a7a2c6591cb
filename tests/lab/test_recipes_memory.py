"""Recipes of recipes/memory on crashes of every kind; .ci/full makes all of those dumps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.finding import Check, Finding, Role, Verdict
from crashkit.recipe import Recipe, load_recipes, run_recipe
from tests.lab.conftest import lab_folder, lab_vmcore, made
from tests.samples.conftest import mask, required_pages

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]

# (recipe, kind it is true of) to the class it names
TRUE = {
    ("freed-object-read", "uaflist"): "free-list pointer",
    ("freed-object-read", "poison6b"): "poison",
    ("list-entry-removed", "listpoison"): "read through",
    ("list-entry-removed", "hlistpoison"): "written through",
    ("list-entry-removed", "listdel"): "removed again",
    ("slab-freelist-overwritten", "freelist"): "",
    ("one-bit-flip", "bitflip"): "",
    ("one-bit-flip", "bitflip55"): "",
    ("one-consumer-of-memory", "oomslab"): "slab cache",
    ("one-consumer-of-memory", "oomtmpfs"): "tmpfs",
    ("one-consumer-of-memory", "oomrss"): "process",
    ("one-consumer-of-memory", "oomvmalloc"): "vmalloc",
    ("one-consumer-of-memory", "oompages"): "pages that nobody counts",
    ("slab-overrun", "redzone"): "",
    ("slab-write-after-free", "poisonwrite"): "",
    ("unchecked-error-pointer", "errptr"): "",
    ("unchecked-error-pointer", "errptrlow"): "",
}
# What the link of the first kfree() decides only where it is older than the crash.
TRUE_ON = {"6.12": (("slab-double-free", "dfree"),)}
# (recipe, kind that looks like it) to the check that decides
FALSE = {
    ("freed-object-read", "random"): "free",
    ("freed-object-read", "ascii"): "free",
    ("freed-object-read", "bitflip55"): "free",
    ("freed-object-read", "uaf"): "free",  # in use again
    ("list-entry-removed", "listadd"): "poison",
    ("one-bit-flip", "random"): "bit",
    ("one-bit-flip", "ascii"): "bit",
    ("one-consumer-of-memory", "oomcgroup"): "system",
    ("slab-overrun", "poisonwrite"): "zone",
    ("slab-write-after-free", "redzone"): "free",
    ("unchecked-error-pointer", "containerof"): "error",
}
KERNELS = ("6.1", "6.12")
# Another recipe's look-alike: a damaged free list that leads to an object in use.
DAMAGED_LIST = "recipe-skb-double-free-lookalike"

every = pytest.mark.parametrize("kernel", KERNELS)
true = pytest.mark.parametrize("case", TRUE, ids="-".join)
false = pytest.mark.parametrize("case", FALSE, ids="-".join)


@cache
def recipes() -> dict[str, Recipe]:
    found = load_recipes().recipes
    return {one.meta.id: one for one in found if one.source.name.startswith("memory/")}


def finding(crash: Crash, recipe_id: str) -> Finding:
    found = run_recipe(recipes()[recipe_id], crash)
    assert found is not None, "the recipe does not apply"
    assert found.error is None, found.error
    return found


def of(found: Finding, check_id: str) -> Check:
    return next(check for check in found.checks if check.id == check_id)


def looked(found: Finding) -> list[tuple[str, bool | None, str | None]]:
    return [(check.id, check.holds, check.why_not) for check in found.checks]


@every
@true
def test_what_is_true_is_confirmed(opened: Open, case: tuple[str, str], kernel: str) -> None:
    recipe_id, kind = case
    found = finding(made(opened, f"kind-{kind}-{kernel}"), recipe_id)
    assert found.verdict is Verdict.CONFIRMED, looked(found)
    assert ", ".join(found.classes) == TRUE[case]
    assert found.fix is None
    assert found.advice


@every
@false
def test_the_look_alike_is_refuted(opened: Open, case: tuple[str, str], kernel: str) -> None:
    recipe_id, kind = case
    found = finding(made(opened, f"kind-{kind}-{kernel}"), recipe_id)
    assert found.verdict is Verdict.REFUTED, looked(found)
    assert of(found, FALSE[case]).holds is False


@every
@pytest.mark.parametrize("kind", ["random", "uaflist"])
def test_a_wild_pointer_outside_of_the_allocator_is_no_free_lists(
    opened: Open, kind: str, kernel: str
) -> None:
    crash = made(opened, f"kind-{kind}-{kernel}")
    assert run_recipe(recipes()["slab-freelist-overwritten"], crash) is None


def test_a_list_that_leads_to_an_object_in_use_is_no_double_free(opened: Open) -> None:
    found = finding(made(opened, f"{DAMAGED_LIST}-6.12"), "slab-double-free")
    assert found.verdict is Verdict.REFUTED, looked(found)
    assert (of(found, "free").holds, of(found, "link").holds) == (True, False)


@pytest.mark.parametrize("dump", [f"{DAMAGED_LIST}-6.1", "kind-dfree-6.1"])
def test_a_link_that_kfree_has_just_written_decides_nothing(opened: Open, dump: str) -> None:
    # On 6.1 an object in use has one by then, like one that was free.
    found = finding(made(opened, dump), "slab-double-free")
    assert found.verdict is Verdict.INCONCLUSIVE, looked(found)
    assert [check.id for check in found.checks if check.holds is None] == ["link"]


def test_a_double_free_is_confirmed_where_its_link_is_older(opened: Open) -> None:
    found = finding(made(opened, "kind-dfree-6.12"), "slab-double-free")
    assert found.verdict is Verdict.CONFIRMED, looked(found)


@every
def test_nothing_else_is_confirmed_of_any_kind(opened: Open, kernel: str) -> None:
    folders = sorted(lab_folder().glob(f"kind-*-{kernel}"))
    if not folders:
        pytest.skip("the kinds of crashes are made by .ci/full")
    for folder in folders:
        kind = folder.name.removeprefix("kind-").removesuffix(f"-{kernel}")
        with open_crash(lab_vmcore(folder.name), types="btf") as crash:
            for recipe_id, recipe in recipes().items():
                found = run_recipe(recipe, crash)
                if found is None:
                    continue
                assert found.error is None, f"{recipe_id} of {kind}: {found.error}"
                confirmed = found.verdict is Verdict.CONFIRMED
                true_here = {*TRUE, *TRUE_ON.get(kernel, ())}
                assert confirmed == ((recipe_id, kind) in true_here), f"{recipe_id} of {kind}"


@every
@true
def test_each_value_from_memory_can_be_read_again(
    opened: Open, case: tuple[str, str], kernel: str
) -> None:
    recipe_id, kind = case
    found = finding(made(opened, f"kind-{kind}-{kernel}"), recipe_id)
    for check in found.checks:
        if check.role is not Role.SUPPORTING:
            assert all(v.reread is not None for v in check.values if v.address), check.id


@pytest.mark.parametrize(
    ("recipe_id", "kind", "words"),
    [
        ("one-bit-flip", "bitflip", "bit 40: "),
        ("one-bit-flip", "bitflip55", "bit 55: "),
        ("one-consumer-of-memory", "oomslab", "kinds_order: "),
        ("one-consumer-of-memory", "oomrss", "orders ("),
        ("one-consumer-of-memory", "oomvmalloc", "leak_vmalloc+"),
        ("slab-overrun", "redzone", "overflow+"),
        ("slab-write-after-free", "poisonwrite", "write_after_free+"),
        ("unchecked-error-pointer", "errptr", "port->peer is ENODEV"),
    ],
)
@every
def test_what_the_guest_did_is_named(
    opened: Open, recipe_id: str, kind: str, words: str, kernel: str
) -> None:
    found = finding(made(opened, f"kind-{kind}-{kernel}"), recipe_id)
    assert words in " ".join((*(check.note for check in found.checks), found.advice or ""))


@true
def test_no_verdict_survives_the_loss_of_a_page_it_rests_on(
    opened: Open, case: tuple[str, str]
) -> None:
    recipe_id, kind = case
    name = f"kind-{kind}-6.1"
    pages = required_pages(finding(made(opened, name), recipe_id))
    assert pages
    for page in pages:
        with open_crash(lab_vmcore(name), types="btf") as crash:
            mask(crash.prog, page)
            masked = run_recipe(recipes()[recipe_id], crash)
        if masked is not None:  # None: the recipe cannot even see its symptom
            assert masked.error is None, f"{page:#x}: {masked.error}"
            assert masked.verdict is Verdict.INCONCLUSIVE, f"{page:#x}: {looked(masked)}"
