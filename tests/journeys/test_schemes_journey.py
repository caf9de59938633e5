"""Ways to part a data set, from a table of images to a bundle that reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of 12 patients at three sites; the last patient was at two of them."""
    folder = tmp_path_factory.mktemp("sites")
    lines = ["file,label,patient_id,site"]
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"c-{number:02d}.png")
        patient = number // 2
        site = "east" if number == 23 else ("east", "north", "west")[patient % 3]
        lines.append(f"c-{number:02d}.png,{('cyst', 'stone')[patient // 3 % 2]},patient {patient},{site}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def trained(overread: Any, journey: Path, table: Path, data: str, out: Path) -> Path:
    recipe = (journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 1").replace("folds = 2\n", data)
    (out / "recipe.toml").write_text(recipe)
    said = overread("train", out / "recipe.toml", table, "--out", out / "run")
    assert said.code == 0, said.err
    return out / "run"


def test_repeated_folds_give_one_answer_a_case_and_a_bundle_of_all_networks(
    overread: Any, journey: Path, table: Path, tmp_path: Path
) -> None:
    run = trained(overread, journey, table, 'scheme = "repeated-k-fold"\nfolds = 2\nrepeats = 2\n', tmp_path)
    answers = pd.read_csv(run / "predictions.csv")
    assert sorted(answers["case_id"]) == [f"c-{number:02d}" for number in range(24)]
    assert answers["fold"].isna().all()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert {one["n_cases"] for one in evaluation["estimates"]} == {24}
    assert {one["n_patients"] for one in evaluation["estimates"]} == {12}
    assert "2 times with other folds" in evaluation["scheme"]
    assert "averaged before anything was measured" in (run / "report.html").read_text()
    assert len(json.loads((run / "bundle" / "bundle.json").read_text())["content"]["folds"]) == 4
    assert overread("read", run, table.parent / "c-00.png", "--out", tmp_path / "read").code == 0


def test_every_site_is_judged_by_models_that_never_saw_it(
    overread: Any, journey: Path, table: Path, tmp_path: Path
) -> None:
    run = trained(overread, journey, table, 'scheme = "leave-one-site-out"\n', tmp_path)
    site = pd.read_csv(table).assign(case_id=lambda rows: rows["file"].str.removesuffix(".png"))
    answers = pd.read_csv(run / "predictions.csv").merge(site, on="case_id")
    assert len(answers) == 24
    assert dict(zip(answers["fold"], answers["site"], strict=True)) == {0: "east", 1: "north", 2: "west"}
    assert answers.groupby("fold")["site"].nunique().max() == 1
    scheme = json.loads((run / "evaluation.json").read_text())["scheme"]
    assert "east (9 cases), north (8 cases), west (7 cases)" in scheme
    assert "1 of fold 0, 1 of fold 2" in scheme


def test_a_data_set_without_sites_is_refused_before_anything_is_learned(
    overread: Any, journey: Path, table: Path, tmp_path: Path
) -> None:
    rows = pd.read_csv(table).drop(columns="site")
    rows.to_csv(table.parent / "plain.csv", index=False)
    recipe = (journey / "cnn.toml").read_text().replace("folds = 2\n", 'scheme = "leave-one-site-out"\n')
    (tmp_path / "recipe.toml").write_text(recipe)
    said = overread("train", tmp_path / "recipe.toml", table.parent / "plain.csv", "--out", tmp_path / "run")
    assert said.code == 1
    assert "needs the site of every case" in said.err
    assert not (tmp_path / "run" / "folds").exists()
