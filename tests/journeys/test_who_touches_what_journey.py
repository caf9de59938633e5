"""Which data touch which number, from a table of images to an evaluation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

COPIES = {"c-50": "c-00", "c-51": "c-07", "c-52": "c-14"}
CLASSES = ("cyst", "normal", "stone")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 images of patients of their own, three of them copies; two without a label, and six of an official test."""
    folder = tmp_path_factory.mktemp("table")
    lines = ["file,label,patient_id,split"]
    for number in range(70):
        name = f"c-{number:02d}"
        like = int(COPIES.get(name, name).removeprefix("c-"))
        pixels = np.random.default_rng(like).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        label = "" if number in (30, 31) else CLASSES[like % 3]
        lines.append(f"{name}.png,{label},patient {number},{'test' if number >= 64 else 'train'}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


@pytest.fixture(scope="module")
def run(overread: Any, journey: Path, table: Path) -> Path:
    recipe = (journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 1")
    (table.parent / "recipe.toml").write_text(recipe)
    said = overread("train", table.parent / "recipe.toml", table, "--out", table.parent / "run")
    assert said.code == 0, said.err
    return table.parent / "run"


def test_a_copy_of_an_image_is_tested_in_the_fold_of_its_twin(run: Path) -> None:
    fold = pd.read_csv(run / "predictions.csv").set_index("case_id")["fold"]
    assert {copy: fold[copy] for copy in COPIES} == {copy: fold[twin] for copy, twin in COPIES.items()}


def test_neither_the_official_test_nor_what_nobody_labelled_is_learned_from(run: Path) -> None:
    tested = set(pd.read_csv(run / "predictions.csv")["case_id"])
    assert tested == {f"c-{number:02d}" for number in range(64)} - {"c-30", "c-31"}
    told = json.loads((run / "bundle" / "bundle.json").read_text())["content"]
    assert len(told["seen"]) == len(tested) - len(COPIES)
    assert sum(fold["n_test"] for fold in told["folds"]) == len(tested)


def test_on_data_that_lack_a_class_the_model_keeps_all_of_its_own(
    overread: Any, run: Path, table: Path, tmp_path: Path
) -> None:
    fewer = [line for line in table.read_text().splitlines() if ",cyst," not in line]
    (table.parent / "fewer.csv").write_text("\n".join(fewer))
    said = overread("evaluate", run, table.parent / "fewer.csv", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert evaluation["data"]["classes"] == list(CLASSES)
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv").dropna(subset="truth")
    called = rows[[f"score_{name}" for name in CLASSES]].to_numpy().argmax(1)
    right = np.mean([CLASSES[index] == truth for index, truth in zip(called, rows["truth"], strict=True)])
    accuracy = next(one for one in evaluation["estimates"] if (one["metric"], one["class_name"]) == ("accuracy", None))
    assert accuracy["value"] == pytest.approx(right)
    assert accuracy["n_cases"] == len(rows)
