"""The recipes that come with Overread: each can be run as it stands, and says what it is for."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from overread.image import Image
from overread.models.contract import Shape, models
from overread.preprocessing.step import prepare, steps
from overread.recipe import load_recipe, shipped_recipes
from overread.training.optim import optimisers, schedules

RECIPES = shipped_recipes()


def header_of(path: Path) -> str:
    """The comment that a recipe begins with, as one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.lstrip("# ") for line in lines[:end])


def test_there_are_recipes_and_the_demo_has_its_two() -> None:
    assert {"demo-cnn", "demo-mask-rcnn"} < set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_names_only_what_there_is(name: str) -> None:
    recipe = load_recipe(name)
    written = tomllib.loads(RECIPES[name].read_text(encoding="utf-8"))
    assert recipe.name == name
    assert all(step["step"] in steps for step in written["preprocessing"]["steps"])
    assert recipe.training.optimiser in optimisers
    assert recipe.training.schedule in schedules
    assert recipe.model.family in models


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_fits_its_family_and_gives_a_network_that_learns(name: str) -> None:
    resolved = load_recipe(name).resolved()
    family = models.get(resolved.model.family)
    assert set(load_recipe(name).model.options) <= set(resolved.model.options)
    axes = 3 if "voxels" in header_of(RECIPES[name]) else 2
    restores = resolved.data.truth == "images"
    shape = Shape("reconstruction", (), 1) if restores else Shape(family.tasks[0], ("normal", "other"), 1, axes)
    built = family.build(family.Settings(**resolved.model.options), shape, pretrained=False)
    assert any(parameter.requires_grad for parameter in built.parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_says_what_it_is_for_and_on_which_data(name: str) -> None:
    header = header_of(RECIPES[name])
    assert re.match(r"[A-Z][^.]{20,}\.", header), header
    assert re.search(r"\bData: \S+", header), header


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_says_how_long_it_takes_and_what_to_expect(name: str) -> None:
    header = header_of(RECIPES[name])
    assert re.search(r"\b\d+ (s|min|h)\b", header), header
    assert re.search(r"\bExpected: .*\b[01]\.\d", header), header


def test_the_anomaly_recipe_sees_a_radiograph_in_one_size_and_a_small_one_as_it_is() -> None:
    """A score that depends on the size of a file would call every large normal image ill."""
    rows, columns = np.mgrid[:28, :28]
    pixels = np.sin(rows / 9 + columns / 7, dtype=np.float32)[None]
    steps = load_recipe("pneumonia-anomaly").preprocessing.steps
    np.testing.assert_array_equal(prepare(Image(pixels), steps).pixels, pixels)
    large = Image(np.kron(pixels, np.ones((1, 8, 8), np.float32)))
    np.testing.assert_allclose(prepare(large, steps).pixels, pixels, atol=0.05)


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results():
    """The benchmark that makes the table of results."""
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_results_has_a_row_of_every_recipe_for_its_data_sets_as_it_stands_now(results) -> None:
    rows = results.kept()
    expected = {name for dataset in results.PUBLISHED for name in results.recipes_of(dataset)}
    assert expected <= set(RECIPES)
    assert {name for name in expected if results.is_current(name, rows)} == expected == set(rows)


def test_the_page_of_results_is_made_of_the_rows_that_are_kept(results) -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page(results.kept())


def test_what_a_recipe_says_to_expect_is_what_its_row_says(results) -> None:
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    for name, row in rows.items():
        said = re.search(r"AUROC (0\.\d+)", header_of(RECIPES[name]))
        assert said is not None, name
        assert abs(float(said[1]) - row["auroc"]["value"]) <= 0.5 * 10 ** (2 - len(said[1])) + 1e-9, name
