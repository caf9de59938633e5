"""A classifier whose images a trained denoiser prepares, from the recipe to a folder on another machine."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overread.bundle_files import load_bundle
from overread.data.phantom import Phantom
from overread.errors import BundleError
from overread.preprocessing.learned import opened

CLEANER = """
name = "tiny-cleaner"
[data]
truth = "images"
scheme = "hold-out"
held_out = 0.4
[model]
family = "autoencoder"
width = 4
depth = 2
[training]
epochs = 1
batch_size = 8
[evaluation]
draws = 100
"""

CLEANED = """
name = "tiny-cleaned"
[data]
folds = 2
validation = 0.0
[[preprocessing.steps]]
step = "denoise-learned"
bundle = "{}"
[[preprocessing.steps]]
step = "min-max"
[model]
family = "mlp"
side = 8
hidden = [8]
[training]
epochs = 1
batch_size = 8
keep = "last"
[evaluation]
draws = 100
"""


@pytest.fixture(scope="module")
def cleaner(overread: Any, journey: Path, phantom: Phantom) -> Path:
    """The run of a denoiser that learned from the images that the classifier is tested on."""
    (journey / "cleaner.toml").write_text(CLEANER)
    said = overread("train", journey / "cleaner.toml", phantom.labels, "--out", journey / "cleaner-run")
    assert said.code == 0, said.err
    return journey / "cleaner-run"


@pytest.fixture(scope="module")
def runs(cleaner: Path, cleaned: Path) -> tuple[Path, Path]:
    """Both."""
    return cleaner, cleaned


@pytest.fixture(scope="module")
def cleaned(overread: Any, journey: Path, phantom: Phantom, cleaner: Path) -> Path:
    """The run of the classifier."""
    (journey / "cleaned.toml").write_text(CLEANED.format(cleaner))
    said = overread("train", journey / "cleaned.toml", phantom.labels, "--out", journey / "cleaned-run")
    assert said.code == 0, said.err
    return journey / "cleaned-run"


def test_the_bundle_says_which_denoiser_it_was_made_with_and_brings_it_along(cleaned: Path, cleaner: Path) -> None:
    own, denoiser = load_bundle(cleaned), load_bundle(cleaner)
    for record in own.folds:
        assert record.steps[0].bundle_id == denoiser.bundle_id  # type: ignore[attr-defined]
    assert load_bundle(cleaned / "bundle" / "denoisers" / denoiser.bundle_id).bundle_id == denoiser.bundle_id
    assert not (cleaned / "denoisers").exists()  # what only the training needed


def test_images_that_the_denoiser_learned_from_are_said_on_the_first_page(cleaned: Path, cleaner: Path) -> None:
    known = len(load_bundle(cleaner).seen)
    *_, warning = json.loads((cleaned / "evaluation.json").read_text())["warnings"]
    assert f"'tiny-cleaner', which prepares the images, learned from {known} of these 27 images" in warning
    page = (cleaned / "report.html").read_text()
    assert page.index("tiny-cleaner&#39;, which prepares") < page.index("How good it is")


def test_what_the_denoiser_makes_worse_is_said_of_the_classifier_and_of_its_readings_too(
    overread: Any, cleaned: Path, cleaner: Path, phantom: Phantom, tmp_path: Path
) -> None:
    own, *_ = json.loads((cleaner / "evaluation.json").read_text())["warnings"]
    assert own.startswith("This model makes images with noise of")
    said = own.replace("This model", "The denoiser 'tiny-cleaner', which prepares the images,")
    assert said in json.loads((cleaned / "evaluation.json").read_text())["warnings"]
    assert said in overread("read", cleaned, phantom.images[0], "--out", tmp_path / "read").err
    overread("evaluate", cleaned, phantom.labels, "--out", tmp_path / "eval")
    assert said in json.loads((tmp_path / "eval" / "evaluation.json").read_text())["warnings"]


def test_a_bundle_reads_from_a_moved_folder_where_its_denoiser_is_gone(
    overread: Any, cleaned: Path, cleaner: Path, phantom: Phantom, tmp_path: Path
) -> None:
    first = overread("read", cleaned, *phantom.images[:2], "--out", tmp_path / "before")
    assert first.code == 0, first.err
    moved, away = tmp_path / "elsewhere", tmp_path / "away"
    shutil.copytree(cleaned / "bundle", moved)
    cleaner.rename(away)
    opened.clear()  # as in a process of its own
    try:
        said = overread("read", moved, *phantom.images[:2], "--out", tmp_path / "after")
    finally:
        away.rename(cleaner)
    assert said.code == 0, said.err
    before, after = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("before", "after"))
    assert before == after


def test_a_denoiser_inside_a_bundle_that_was_changed_or_lost_is_refused(cleaned: Path, tmp_path: Path) -> None:
    for harm in ("changed", "lost"):
        shutil.copytree(cleaned / "bundle", tmp_path / harm)
        (weights,) = (tmp_path / harm / "denoisers").glob("*/fold-0.safetensors")
        if harm == "lost":
            shutil.rmtree(weights.parent)
        else:
            content = bytearray(weights.read_bytes())
            content[-1] ^= 1
            weights.write_bytes(content)
        with pytest.raises(BundleError, match="denoiser that its steps ask is not whole"):
            load_bundle(tmp_path / harm)


def test_a_changed_denoiser_gives_other_prepared_images_and_another_run(
    overread: Any, runs: tuple[Path, Path], phantom: Phantom, tmp_path: Path
) -> None:
    """The bundle_id is part of the recipe's digest, and so of the run and of every kept image."""
    cleaner, cleaned = runs
    (tmp_path / "other.toml").write_text(CLEANER.replace("epochs = 1", "epochs = 2"))
    assert overread("train", tmp_path / "other.toml", phantom.labels, "--out", tmp_path / "other").code == 0
    away = tmp_path / "away"
    cleaner.rename(away)
    shutil.copytree(tmp_path / "other", cleaner)
    try:
        said = overread("train", cleaned.parent / "cleaned.toml", phantom.labels, "--out", cleaned)
        named = CLEANED.format(f'{cleaner}"\nbundle_id = "{load_bundle(away).bundle_id}')
        (tmp_path / "named.toml").write_text(named)
        pinned = overread("train", tmp_path / "named.toml", phantom.labels, "--out", tmp_path / "run")
    finally:
        shutil.rmtree(cleaner)
        away.rename(cleaner)
    assert "holds a run with another recipe" in said.err
    assert "this step was made with" in pinned.err


@pytest.mark.parametrize(
    "what",
    [
        ("missing", "holds no trained model"),
        ("classifier", "is no denoiser: it was taught single-label"),
        ("damaged", "another SHA-256"),
    ],
)
def test_what_is_no_denoiser_is_refused_before_training(
    what: tuple[str, str], overread: Any, runs: tuple[Path, Path], phantom: Phantom, tmp_path: Path
) -> None:
    (kind, why), (cleaner, cleaned) = what, runs
    place = {"missing": tmp_path, "classifier": cleaned}.get(kind)
    if place is None:
        place = tmp_path / "damaged"
        shutil.copytree(cleaner, place)
        with open(place / "bundle" / "fold-0.safetensors", "ab") as file:
            file.write(b"more")
    (tmp_path / "wrong.toml").write_text(CLEANED.format(place))
    said = overread("train", tmp_path / "wrong.toml", phantom.labels, "--out", tmp_path / "run")
    assert said.code != 0
    assert "preprocessing.steps.1.bundle" in said.err
    assert why in said.err
    assert not (tmp_path / "run").exists()


def test_a_denoiser_of_grey_images_is_refused_for_colour_ones_before_training(
    overread: Any, cleaner: Path, tmp_path: Path
) -> None:
    for number in range(16):
        folder = tmp_path / "data" / ("ill" if number % 2 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "colour.toml").write_text(CLEANED.format(cleaner))
    said = overread("train", tmp_path / "colour.toml", tmp_path / "data", "--out", tmp_path / "run")
    assert said.code != 0
    assert "'tiny-cleaner' does not take it: this model was trained on grey images" in said.err
    assert not (tmp_path / "run" / "folds").exists()


def test_the_steps_of_the_denoiser_stand_before_it(
    overread: Any, cleaner: Path, phantom: Phantom, tmp_path: Path
) -> None:
    halved = CLEANER.replace("[model]", '[[preprocessing.steps]]\nstep = "resize"\nfactor = 0.5\n[model]', 1)
    (tmp_path / "halved.toml").write_text(halved)
    assert overread("train", tmp_path / "halved.toml", phantom.labels, "--out", tmp_path / "halved").code == 0
    (tmp_path / "wrong.toml").write_text(CLEANED.format(tmp_path / "halved"))
    said = overread("train", tmp_path / "wrong.toml", phantom.labels, "--out", tmp_path / "run")
    assert "learned from images after the step 'resize' with factor = 0.5" in said.err
    resized = CLEANED.replace("[[pre", '[[preprocessing.steps]]\nstep = "resize"\nfactor = 0.5\n[[pre', 1)
    (tmp_path / "right.toml").write_text(resized.format(tmp_path / "halved"))
    said = overread("train", tmp_path / "right.toml", phantom.labels, "--out", tmp_path / "run")
    assert said.code == 0, said.err
