"""Recipes: one file per signature, loaded, run and folded into findings."""

from crashkit.recipe.loading import (
    Recipe,
    Recipes,
    find_source,
    load,
    load_recipes,
    own_directory,
    read_sources,
    recipe_directories,
)
from crashkit.recipe.meta import Meta, Source, read_source
from crashkit.recipe.running import run_recipe

__all__ = [
    "Meta",
    "Recipe",
    "Recipes",
    "Source",
    "find_source",
    "load",
    "load_recipes",
    "own_directory",
    "read_source",
    "read_sources",
    "recipe_directories",
    "run_recipe",
]
