"""From a table of measurements to answers about new rows, through the command line."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from overread.recipe import shipped_recipes

RECIPE = "breast-cancer-table-mlp"


@pytest.fixture(scope="module")
def rows(journey: Path) -> Path:
    """The first 240 rows of scikit-learn's breast-cancer table, for learning, and 60 others with ids."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(diagnosis=data.target_names[data.target])
    folder = journey / "rows"
    folder.mkdir()
    table[:240].to_csv(folder / "known.csv", index=False)
    table[240:300].assign(sample_id=[f"S{n}" for n in range(60)]).to_csv(folder / "others.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(overread: Any, journey: Path, rows: Path) -> Path:
    """A short training on these rows."""
    text = shipped_recipes()[RECIPE].read_text()
    short = (
        re.sub("folds = 5", "folds = 2", re.sub("epochs = 20", "epochs = 6", text)) + "\n[evaluation]\ndraws = 100\n"
    )
    (journey / "rows.toml").write_text(short)
    said = overread("train", journey / "rows.toml", rows / "known.csv", "--out", journey / "rows-run")
    assert said.code == 0, said.err
    return journey / "rows-run"


def _predictions(folder: Path) -> list[dict[str, str]]:
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _words(folder: Path) -> str:
    """What a report says, without the recipe and the software, which name what was not used."""
    page = (folder / "report.html").read_text()
    page = re.sub("<(style|pre)>.*?</\\1>|<h2>Software</h2>.*?</p>", "", page, flags=re.DOTALL)
    return re.sub("<[^>]*>", " ", page)


def test_the_table_that_the_shipped_recipe_was_measured_on_can_be_written_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = shipped_recipes()[RECIPE].read_text()
    line = next(line for line in header.splitlines() if "python -c" in line)
    monkeypatch.chdir(tmp_path)
    exec(line.split('python -c "')[1].rstrip('"'), {})
    assert pd.read_csv("breast-cancer.csv").shape == (569, 31)


def test_a_table_is_inspected_and_says_what_each_column_was_taken_for(overread: Any, rows: Path) -> None:
    said = overread("inspect", rows / "others.csv")
    assert said.code == 0, said.err
    assert re.search(r"column of measurement +mean radius, mean texture", said.out)
    assert re.search(r"column of label +diagnosis\n", said.out)
    assert re.search(r"column of id +sample_id\n", said.out)
    assert "image" not in said.out + said.err


def test_a_recipe_is_proposed_that_can_be_trained(overread: Any, rows: Path, tmp_path: Path) -> None:
    proposed = overread("recipe", "new", rows / "known.csv")
    assert proposed.code == 0, proposed.err
    assert 'family = "mlp"' in proposed.out
    assert '{ step = "z-score", scope = "training" }' in proposed.out
    (tmp_path / "mine.toml").write_text(proposed.out)
    assert overread("recipe", "show", tmp_path / "mine.toml").code == 0


def test_a_training_on_rows_measures_them_and_speaks_of_no_image(run: Path) -> None:
    estimates = json.loads((run / "evaluation.json").read_text())["estimates"]
    auroc = next(row for row in estimates if row["metric"] == "auroc" and row["class_name"] is None)
    assert auroc["value"] > 0.95
    assert auroc["low"] < auroc["value"] < auroc["high"]
    assert len(_predictions(run)) == 240
    words = _words(run)
    assert "mean radius, mean texture" in words
    assert not re.search(r"image|pixel|picture", words, re.IGNORECASE)


def test_rows_that_come_again_under_other_names_count_once_in_every_interval(
    overread: Any, journey: Path, rows: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(rows / "known.csv")[:80]
    pd.concat([table, table]).to_csv(tmp_path / "twice.csv", index=False)
    trained = overread("train", journey / "rows.toml", tmp_path / "twice.csv", "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    measured = overread("evaluate", tmp_path / "run", tmp_path / "twice.csv", "--out", tmp_path / "eval")
    assert measured.code == 0, measured.err
    for folder, said in ((tmp_path / "run", trained), (tmp_path / "eval", measured)):
        told = json.loads((folder / "evaluation.json").read_text())
        assert [told["data"][key] for key in ("n_cases", "n_patients", "n_groups")] == [160, 160, 80]
        assert {row["n_patients"] for row in told["estimates"] if row["class_name"] is None} == {80}
        assert len({row["group"] for row in _predictions(folder)}) == 80
        assert "160 rows, patients not named (80 groups, as copies count as one)" in _words(folder)
        assert "Rows that share all measurements count as one in every interval: 160 as 80." in _words(folder)
        assert "160 cases in 80 groups (copies count as one)" in said.out


def test_a_table_with_a_gap_is_not_trained_on(overread: Any, journey: Path, rows: Path, tmp_path: Path) -> None:
    table = pd.read_csv(rows / "known.csv")
    table.loc[[4, 9], "mean area"] = None
    table.to_csv(tmp_path / "gap.csv", index=False)
    said = overread("train", journey / "rows.toml", tmp_path / "gap.csv", "--out", tmp_path / "run")
    assert said.code == 1
    assert "mean area (2 rows: 5, 10)" in said.err
    assert not (tmp_path / "run" / "bundle").exists()
    inspected = overread("inspect", tmp_path / "gap.csv")
    assert inspected.code == 1
    assert "[measurement-missing]" in inspected.out


def test_a_bundle_is_measured_on_other_rows_whatever_the_order_of_their_columns(
    overread: Any, run: Path, rows: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(rows / "others.csv")
    table[table.columns[::-1]].to_csv(tmp_path / "turned.csv", index=False)
    for data, out in ((rows / "others.csv", "one"), (tmp_path / "turned.csv", "two")):
        said = overread("evaluate", run, data, "--out", tmp_path / out)
        assert said.code == 0, said.err
        assert "AUROC: 0.9" in said.out or "AUROC: 1.0" in said.out
    assert _predictions(tmp_path / "one") == _predictions(tmp_path / "two")
    assert "none of these rows, measurement by measurement, was learned from" in _words(tmp_path / "one")


def test_an_evaluation_on_rows_of_the_training_says_so(overread: Any, run: Path, rows: Path, tmp_path: Path) -> None:
    said = overread("evaluate", run, rows / "known.csv", "--out", tmp_path / "eval")
    assert "240 of 240 rows were seen in training" in said.err


def test_new_rows_are_read_by_name_and_those_with_a_gap_are_refused_by_name(
    overread: Any, run: Path, rows: Path, tmp_path: Path
) -> None:
    assert overread("evaluate", run, rows / "others.csv", "--out", tmp_path / "eval").code == 0
    table = pd.read_csv(rows / "others.csv").drop(columns="diagnosis")[:5].astype(object)
    table.loc[1, "mean area"], table.loc[2, "mean radius"] = None, "see report"
    table["ward"] = "B3"
    table[table.columns[::-1]].to_csv(tmp_path / "new.csv", index=False)
    said = overread("read", run, tmp_path / "new.csv", "--out", tmp_path / "read")
    assert said.code == 1
    assert "3 of 5 cases were read." in said.out
    assert "refused: S1: nothing stands in 'mean area'" in said.err
    assert "refused: S2: no number stands in 'mean radius'" in said.err
    assert "does not know these columns: ward" in said.err
    measured = {row["case_id"]: row for row in _predictions(tmp_path / "eval")}
    read = _predictions(tmp_path / "read")
    assert [row["case_id"] for row in read] == ["S0", "S1", "S2", "S3", "S4"]
    for row in read:
        if not row["refused"]:
            assert float(row["score_malignant"]) == pytest.approx(
                float(measured[row["case_id"]]["score_malignant"]), abs=1e-6
            )
    words = _words(tmp_path / "read")
    assert not re.search(r"image|pixel|picture", words, re.IGNORECASE)
    assert "<img" not in (tmp_path / "read" / "report.html").read_text()
    assert {path.name for path in (tmp_path / "read").iterdir()} == {
        "predictions.json", "predictions.csv", "report.html",
    }  # fmt: skip


def test_a_row_of_the_training_is_told_when_it_is_read(overread: Any, run: Path, rows: Path, tmp_path: Path) -> None:
    known, other = pd.read_csv(rows / "known.csv")[:1], pd.read_csv(rows / "others.csv")[:1]
    pd.concat([known, other]).drop(columns=["diagnosis", "sample_id"]).to_csv(tmp_path / "new.csv", index=False)
    said = overread("read", run, tmp_path / "new.csv", "--out", tmp_path / "read")
    assert "The model learned from 1 of these 2 rows" in said.err
    assert "row-1" in said.err


def test_a_measurement_in_another_unit_is_pointed_out(overread: Any, run: Path, rows: Path, tmp_path: Path) -> None:
    table = pd.read_csv(rows / "others.csv")[:3].drop(columns="diagnosis")
    table["mean radius"] *= 10
    table.to_csv(tmp_path / "new.csv", index=False)
    said = overread("read", run, tmp_path / "new.csv", "--out", tmp_path / "read")
    assert "'mean radius' lies more than 10 standard deviations" in said.err
    assert "in 3 of these 3 rows. Check its unit: S0, S1, S2" in said.err
    assert "mean area" not in said.err


def test_a_table_that_lacks_a_measurement_is_refused(overread: Any, run: Path, rows: Path, tmp_path: Path) -> None:
    pd.read_csv(rows / "others.csv").rename(columns={"mean area": "Mean area"}).to_csv(tmp_path / "new.csv")
    said = overread("read", run, tmp_path / "new.csv", "--out", tmp_path / "read")
    assert said.code == 1
    assert "found no column 'mean area' (but 'Mean area')" in said.err
    assert not (tmp_path / "read" / "predictions.json").exists()


def test_a_picture_is_no_table(overread: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"")
    said = overread("read", run, tmp_path / "scan.png", "--out", tmp_path / "read")
    assert said.code == 1
    assert "this model reads rows of measurements" in said.err
