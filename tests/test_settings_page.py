"""The page that says what to choose names all there is and nothing else, and its recipes can be used."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from overread.data.manifest import Case, Manifest
from overread.data.section import SETS, DataSection
from overread.evaluation.section import EvaluationSection
from overread.inference.section import InferenceSection
from overread.models.contract import HasLevels, Shape, models
from overread.models.losses import losses, reconstruction_losses
from overread.pipeline.assembly import build_model, check_family
from overread.preprocessing.step import steps
from overread.recipe import Recipe
from overread.training.optim import optimisers, schedules
from overread.training.section import PretrainingSection, SearchSection, TrainingSection

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "how-to" / "choose-settings.md"
KINDS = {"flat images": 2, "volumes": 3, "tables": 0}
CATALOGUES = {
    "Model families": models,
    "Parts": get_args(DataSection.model_fields["scheme"].annotation),
    "Steps": steps,
    "Augmentation": SETS,
    "Losses": losses,
    "Reconstruction losses": reconstruction_losses,
    "Optimisers": optimisers,
    "Schedules": schedules,
    "Asking more than once": InferenceSection.model_fields,
}
EXAMPLES = [
    Recipe.from_toml(block, where=PAGE.name) for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
]


def rows(heading: str) -> dict[str, list[str]]:
    """Name -> the other cells of its row in the table under a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return {line[0].strip("`"): line[1:] for line in lines[2:]}


@pytest.mark.parametrize("heading", list(CATALOGUES))
def test_the_page_names_all_there_is_and_says_when_to_take_it(heading: str) -> None:
    found = rows(heading)
    assert sorted(found) == sorted(CATALOGUES[heading])
    assert all(cells[-1].endswith(".") for cells in found.values())


@pytest.mark.parametrize("family", models.names())
def test_the_page_says_what_each_family_learns_from_and_takes(family: str) -> None:
    tasks, takes, _ = rows("Model families")[family]
    assert tuple(tasks.split(", ")) == models.get(family).tasks
    assert {KINDS[kind] for kind in takes.split(", ")} == set(models.get(family).axes)


def test_other_settings_stand_with_the_value_that_they_have_where_they_are_left_out() -> None:
    plain = Recipe.from_toml('name = "plain"', where="nothing").resolved()
    whole = plain.model_dump() | {"model": plain.model.options}
    for name, (value, _) in rows("Other settings").items():
        found: Any = whole
        for key in name.split("."):
            found = found[key]
        shown = tomllib.loads(f"it = {value}")["it"]
        assert shown == (list(found) if isinstance(found, tuple) else found), name


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("data", DataSection),
        ("training", TrainingSection),
        ("pretraining", PretrainingSection),
        ("search", SearchSection),
        ("evaluation", EvaluationSection),
    ],
)
def test_no_setting_of_a_section_is_left_out(section: str, settings: type[BaseModel]) -> None:
    page = PAGE.read_text()
    named = "[`.\\n]"  # in prose, in a dotted name, or at the beginning of a line of a recipe
    missing = [
        name
        for name in settings.model_fields
        if not re.search(rf"{named}{name}\b", page)
        and f"[{section}] {name}" not in page
        and f"[{section}.{name}" not in page
    ]
    assert not missing


def test_every_family_has_an_example() -> None:
    assert {recipe.model.family for recipe in EXAMPLES} == set(models)


@pytest.mark.parametrize("recipe", EXAMPLES, ids=lambda recipe: recipe.name)
def test_the_examples_fit_what_they_are_for(recipe: Recipe) -> None:
    resolved, family = recipe.resolved(), models.get(recipe.model.family)
    task = "reconstruction" if recipe.data.truth == "images" else family.tasks[0]
    classes = () if task == "reconstruction" else ("normal", "other")
    measurements = ("age",) if recipe.name == "my-rows" else ()
    case = Case("a", "p", (), measurements=(1.0,) * len(measurements))
    check_family(resolved, Manifest("set", "test", task, classes, (case,), measurements=measurements))
    axes = 3 if recipe.name == "my-volumes" else 0 if measurements else family.axes[0]
    assert build_model(resolved, Shape(task, classes, 1, axes), pretrained=False)


def test_the_families_that_can_be_trained_before_are_named() -> None:
    said = PAGE.read_text().split("`[pretraining] epochs`")[1]
    for family in models:
        if issubclass(models.get(family), HasLevels):
            assert f"`{family}`" in said


def test_the_readme_leads_to_the_page() -> None:
    assert str(PAGE.relative_to(ROOT)) in (ROOT / "README.md").read_text()
