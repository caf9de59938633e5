"""Data sets and recipes as people bring them, right and wrong."""

import csv
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from overread.data.sources import sources

CONTRACT = Path(__file__).resolve().parents[1] / "contracts" / "test_sources_contract.py"


def layouts() -> ModuleType:
    """The contract test of layouts, which can write each of them."""
    spec = importlib.util.spec_from_file_location("layouts_of_the_contract", CONTRACT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(root: Path, *, images: int = 12, deep: bool = False, rare: int = 0, header: str = "file,label") -> Path:
    """Pictures of two classes and their table; where wanted, a third class with a few images only."""
    (root / "images").mkdir(parents=True)
    rows = [header]
    for number in range(images):
        name = ["dark", "bright"][number % 2] if number >= rare else "odd"
        pixels = np.random.default_rng(number).integers(0, 120, (48, 48)) + 120 * (name == "bright")
        kind = np.uint16 if deep else np.uint8
        Image.fromarray((pixels * (200 if deep else 1)).astype(kind)).save(root / "images" / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{name}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root / "labels.csv"


@pytest.mark.parametrize("name", sources.names())
def test_every_layout_can_be_inspected(name: str, overread: Any, journey: Path, tmp_path: Path) -> None:
    made = layouts()._made(name, tmp_path / "data")
    said = overread("inspect", made)
    assert "error:" not in said.out
    assert f"({name}, " in said.out, said.err
    assert said.code == 0
    assert overread("inspect", made, "--source", name).out == said.out


def test_a_path_that_is_not_there_is_said_to_be_missing(overread: Any, tmp_path: Path) -> None:
    for typed in (
        ["inspect", tmp_path / "none"],
        ["recipe", "new", tmp_path / "none"],
        ["train", "breastmnist-cnn", tmp_path / "none", "--out", tmp_path / "out"],
        ["train", tmp_path / "none.toml", tmp_path, "--out", tmp_path / "out"],
        ["read", tmp_path / "none", tmp_path / "a.png", "--out", tmp_path / "out"],
        ["evaluate", tmp_path / "none", tmp_path, "--out", tmp_path / "out"],
    ):
        said = overread(*typed)
        assert said.code == 1, typed
        assert "none" in said.err
        assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "typed", ["train", "read", "inspect", "evaluate a b", "nosuch", "train a b --out c --device x"]
)
def test_wrong_usage_is_2(typed: str, overread: Any) -> None:
    said = overread(*typed.split())
    assert said.code == 2
    assert "--help" in said.err


def test_a_data_set_with_an_unreadable_image_is_not_trained_on(overread: Any, journey: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data")
    (tmp_path / "data" / "images" / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    seen = overread("inspect", data)
    assert seen.code == 1
    assert "unreadable-file" in seen.out
    assert "03.png" in seen.out
    said = overread("train", journey / "cnn.toml", data, "--out", tmp_path / "run")
    assert said.code == 1
    assert "cannot be read" in said.err
    assert "03.png" in said.err
    assert not (tmp_path / "run" / "bundle").exists()


@pytest.mark.parametrize("rare", [1, 3])
def test_a_class_with_fewer_patients_than_folds_is_refused(
    rare: int, overread: Any, journey: Path, tmp_path: Path
) -> None:
    data = table(tmp_path / "data", images=24, rare=rare)
    (tmp_path / "five.toml").write_text((journey / "cnn.toml").read_text().replace("folds = 2", "folds = 5"))
    said = overread("train", tmp_path / "five.toml", data, "--out", tmp_path / "run")
    assert said.code == 1
    assert f"odd ({rare} cases of {rare} patients for 5 folds)" in said.err
    assert "fewer folds" in said.err


def test_everything_that_is_wrong_with_a_recipe_is_said_at_once(overread: Any, journey: Path, tmp_path: Path) -> None:
    text = (journey / "cnn.toml").read_text()
    wrong = text.replace("epochs", "epoch").replace("folds = 2", 'folds = "two"').replace("weights =", "wieghts =")
    (tmp_path / "wrong.toml").write_text(wrong)
    said = overread("train", tmp_path / "wrong.toml", tmp_path, "--out", tmp_path / "run")
    assert said.code == 1
    for told in ("training.epoch:", "data.folds:", "model.wieghts:"):
        assert told in said.err, said.err
    assert "3 things are wrong" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("recipe", "data"), [("cnn.toml", "discs"), ("marks.toml", "labels")])
def test_a_family_that_cannot_learn_from_such_truth_is_refused(
    *, recipe: str, data: str, overread: Any, journey: Path, discs: Path, phantom: Any, tmp_path: Path
) -> None:
    said = overread("train", journey / recipe, discs if data == "discs" else phantom.labels, "--out", tmp_path / "run")
    assert said.code == 1
    assert "model.family" in said.err
    assert "Choose" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what others have not")
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_device_that_is_not_there_is_refused_before_any_work(
    *, command: str, overread: Any, journey: Path, classifier: Path, phantom: Any, tmp_path: Path
) -> None:
    given = journey / "cnn.toml" if command == "train" else classifier
    said = overread(command, given, phantom.labels, "--out", tmp_path / "out", "--device", "cuda")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "--device cuda was asked for" in said.err
    assert not (tmp_path / "out").exists()


def test_an_optimiser_that_is_not_known_is_refused_before_any_work(
    overread: Any, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    text = (journey / "cnn.toml").read_text().replace("epochs = 2", 'epochs = 2\noptimiser = "adamx"')
    (tmp_path / "wrong.toml").write_text(text)
    said = overread("train", tmp_path / "wrong.toml", phantom.labels, "--out", tmp_path / "run")
    assert said.code == 1
    assert "Did you mean 'adam" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "batch_size", "told"),
    [
        ('family = "mlp"\nhidden = [8]', 1, "training.batch_size: "),
        ('family = "cnn"\nbackbone = "vit_tiny_patch16_224"\nweights = "none"', 4, "model.backbone: 'vit_tiny_patch16"),
    ],
)
def test_a_network_that_fails_at_its_first_step_is_refused_by_the_setting_and_nothing_stays_behind(
    *, model: str, batch_size: int, told: str, overread: Any, journey: Path, tmp_path: Path
) -> None:
    given = (journey / "cnn.toml").read_text()
    given = given.replace('family = "cnn"\nweights = "none"', model)
    given = given.replace("batch_size = 8", f"batch_size = {batch_size}")
    (tmp_path / "wrong.toml").write_text(given)
    data = table(tmp_path / "data")
    said = overread("train", tmp_path / "wrong.toml", data, "--out", tmp_path / "run")
    assert said.code == 1
    assert told in said.err
    assert "--debug" not in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("header", ["Dateiname;Diagnose", "x,y", ",", "Bild-Datei,Befund (ja/nein)"])
def test_a_table_with_odd_columns_is_understood_or_refused_with_a_reason(
    header: str, overread: Any, tmp_path: Path
) -> None:
    data = table(tmp_path / "data", header=header)
    if ";" in header:
        data.write_text(data.read_text().replace(",", ";"))
    said = overread("inspect", data)
    assert "Traceback" not in said.err
    if said.code == 0:
        assert re.search(r"class bright +6 cases\n", said.out)
    else:
        assert header == ","
        assert "first line names the columns" in said.err


def test_pictures_with_16_bits_are_learned_from(overread: Any, journey: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data", deep=True)
    trained = overread("train", journey / "cnn.toml", data, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    read = overread("read", tmp_path / "run", tmp_path / "data" / "images", "--out", tmp_path / "read")
    assert read.code == 0, read.err


def test_a_patient_in_two_official_splits_stops_an_evaluation_on_one_of_them(
    overread: Any, classifier: Path, phantom: Any, tmp_path: Path
) -> None:
    with open(phantom.labels, newline="") as file:
        rows = list(csv.DictReader(file))
    learned = next(row["patient_id"] for row in rows if row["split"] == "train")
    next(row for row in rows if row["split"] == "test")["patient_id"] = learned
    rows[0]["age"] = "1"
    leaky = phantom.folder / "leaky.csv"
    with open(leaky, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    try:
        renamed = leaky.read_text().replace(",train", ",val", 1)
        leaky.write_text(renamed)  # no longer the data set that the model learned from
        said = overread("evaluate", classifier, leaky, "--split", "test", "--out", tmp_path / "eval")
        assert said.code == 1
        assert "of patients of whom the model learned from other images" in said.err
        assert learned not in said.err
        assert not (tmp_path / "eval").exists()
    finally:
        leaky.unlink()


def test_an_evaluation_on_another_kind_of_truth_or_other_classes_is_refused(
    overread: Any, classifier: Path, discs: Path, tmp_path: Path
) -> None:
    other = overread("evaluate", classifier, discs, "--out", tmp_path / "eval")
    assert other.code == 1
    assert "masks" in other.err
    strange = overread("evaluate", classifier, table(tmp_path / "data"), "--out", tmp_path / "eval")
    assert strange.code == 1
    assert "bright" in strange.err
    assert not (tmp_path / "eval").exists()


def test_a_split_that_has_no_cases_is_refused(overread: Any, classifier: Path, phantom: Any, tmp_path: Path) -> None:
    said = overread("evaluate", classifier, phantom.labels, "--split", "val", "--out", tmp_path / "eval")
    assert said.code == 1
    assert "no cases" in said.err


def test_colour_and_grey_together_are_refused_with_the_step_that_helps(
    overread: Any, journey: Path, tmp_path: Path
) -> None:
    data = table(tmp_path / "data")
    Image.new("RGB", (48, 48), (10, 200, 30)).save(tmp_path / "data" / "images" / "05.png")
    said = overread("train", journey / "cnn.toml", data, "--out", tmp_path / "run")
    assert said.code == 1
    assert "grey" in said.err


def test_images_of_several_sizes_are_refused_with_the_step_that_helps(
    overread: Any, journey: Path, tmp_path: Path
) -> None:
    data = table(tmp_path / "data")
    Image.new("L", (80, 48), 90).save(tmp_path / "data" / "images" / "05.png")
    said = overread("train", journey / "cnn.toml", data, "--out", tmp_path / "run")
    assert said.code == 1
    assert "resize" in said.err
