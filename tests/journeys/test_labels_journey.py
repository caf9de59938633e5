"""From a table of labels to a read image."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from overread.data.phantom import Phantom
from overread.data.sources import open_data
from overread.study import pseudonym

FIELDS = ["metric", "class_name", "subgroup", "value", "low", "high", "level"]
FIELDS += ["n_cases", "n_patients", "n_positive", "method"]
METRICS = {"auroc", "average_precision", "accuracy", "sensitivity", "specificity", "f1", "brier"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_auroc(folder: Path) -> None:
    """Compute each class's AUROC again from the table, with another library."""
    rows = rows_of(folder / "predictions.csv")
    estimates = json.loads((folder / "evaluation.json").read_text())["estimates"]
    told = {row["class_name"]: row["value"] for row in estimates if row["metric"] == "auroc" and not row["subgroup"]}
    assert set(told) == {None, "normal", "stone", "tumour"}
    for name in ("normal", "stone", "tumour"):
        again = roc_auc_score([row["truth"] == name for row in rows], [float(row[f"score_{name}"]) for row in rows])
        assert told[name] == pytest.approx(again, abs=1e-9)


def test_a_data_set_is_inspected(overread: Any, phantom: Phantom) -> None:
    said = overread("inspect", phantom.labels)
    assert said.code == 0, said.err
    assert "simulated" in said.out
    assert "No problems were found." in said.out


def test_a_proposed_recipe_is_one_that_can_be_shown(overread: Any, phantom: Phantom, tmp_path: Path) -> None:
    proposed = overread("recipe", "new", phantom.labels)
    assert proposed.code == 0, proposed.err
    (tmp_path / "mine.toml").write_text(proposed.out)
    shown = overread("recipe", "show", tmp_path / "mine.toml")
    assert shown.code == 0, shown.err
    assert "weight_decay" in shown.out


def test_a_training_leaves_all_that_is_promised(classifier: Path) -> None:
    assert {path.name for path in classifier.iterdir()} - {".lock"} == {
        "bundle", "computed.json", "evaluation.json", "predictions.csv", "report.html", "run.json",
    }  # fmt: skip
    names = {path.name for path in (classifier / "bundle").iterdir()}
    assert names == {"bundle.json", "fold-0.safetensors", "fold-1.safetensors"}
    assert "SIMULATED" in (classifier / "report.html").read_text()


def test_every_number_of_a_training_has_its_interval_and_its_n(classifier: Path) -> None:
    evaluation = json.loads((classifier / "evaluation.json").read_text())
    assert evaluation["data"]["simulated"]
    weights = [path.stat().st_size for path in (classifier / "bundle").glob("*.safetensors")]
    model = evaluation["model"]
    assert (model["n_networks"], model["weights_bytes"]) == (2, sum(weights))
    assert 0 < 4 * model["n_parameters"] <= weights[0]  # of one network, each number 4 bytes; statistics come on top
    assert model["training_seconds"] > 0
    assert {row["metric"] for row in evaluation["estimates"]} >= METRICS
    for row in evaluation["estimates"]:
        assert list(row) == FIELDS
        assert (row["n_cases"], row["n_patients"], row["level"]) == (27, 9, 0.95)
        assert row["value"] is None or 0 <= row["value"] <= 1
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
        assert row["method"]


def test_the_numbers_can_be_computed_again_from_the_predictions(classifier: Path) -> None:
    check_auroc(classifier)


def test_official_test_patients_have_no_part_in_a_training(classifier: Path, phantom: Phantom) -> None:
    splits = {pseudonym(row["patient_id"]): row["split"] for row in rows_of(phantom.labels)}
    kept_away = {patient for patient, split in splits.items() if split == "test"}
    rows = rows_of(classifier / "predictions.csv")
    assert len(kept_away) == 3
    assert {row["patient_id"] for row in rows} == set(splits) - kept_away
    assert len({(row["patient_id"], row["fold"]) for row in rows}) == 9  # a patient is tested in one fold only


def test_a_bundle_is_measured_on_patients_that_were_kept_away(
    overread: Any, classifier: Path, phantom: Phantom, tmp_path: Path
) -> None:
    said = overread("evaluate", classifier, phantom.labels, "--split", "test", "--out", tmp_path / "eval")
    assert said.code == 0, said.err
    assert "warning" not in said.err
    evaluation = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    assert evaluation["warnings"] == []
    assert evaluation["data"]["split"] == "test"
    assert "none of these images, pixel for pixel, was learned from" in evaluation["scheme"]
    assert {row["n_cases"] for row in evaluation["estimates"]} == {9}
    assert {row["split"] for row in rows_of(tmp_path / "eval" / "predictions.csv")} == {"test"}
    check_auroc(tmp_path / "eval")
    assert "SIMULATED" in (tmp_path / "eval" / "report.html").read_text()


def test_an_evaluation_on_images_of_the_training_says_so_everywhere(
    overread: Any, classifier: Path, phantom: Phantom, tmp_path: Path
) -> None:
    said = overread("evaluate", classifier / "bundle", phantom.labels, "--out", tmp_path / "eval", "--quiet")
    assert said.code == 0
    warned = "27 of 36 images were seen in training"
    assert f"warning: {warned}" in said.err
    evaluation = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    assert warned in evaluation["warnings"][0]
    assert "learned from" not in evaluation["scheme"]
    assert warned in (tmp_path / "eval" / "report.html").read_text()


@pytest.mark.parametrize("part", ["", "bundle"])
def test_new_images_are_read_with_a_run_and_with_its_bundle(
    part: str, overread: Any, classifier: Path, phantom: Phantom, tmp_path: Path
) -> None:
    said = overread("read", classifier / part, *phantom.images[:2], "--out", tmp_path / "read")
    assert said.code == 0, said.err
    assert "2 of 2 cases were read." in said.out
    answers = json.loads((tmp_path / "read" / "predictions.json").read_text())
    assert answers["simulated"]
    for answer, path in zip(answers["predictions"], phantom.images, strict=False):
        assert answer["source"] == path.name
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6)
        assert answer["predicted_class"] == max(answer["scores"], key=answer["scores"].get)
        with Image.open(tmp_path / "read" / f"{answer['case_id']}.png") as picture:
            picture.load()
            assert picture.size[0] > 64
    assert "SIMULATED" in (tmp_path / "read" / "report.html").read_text()


def test_a_reading_says_what_the_evaluation_said_of_the_same_image(
    overread: Any, classifier: Path, phantom: Phantom, tmp_path: Path
) -> None:
    assert overread("evaluate", classifier, phantom.labels, "--split", "test", "--out", tmp_path / "eval").code == 0
    rows = {row["case_id"]: row for row in rows_of(tmp_path / "eval" / "predictions.csv")}
    assert overread("read", classifier, phantom.folder / "images", "--out", tmp_path / "read").code == 0
    answers = json.loads((tmp_path / "read" / "predictions.json").read_text())["predictions"]
    read = {answer["source"]: answer["scores"] for answer in answers}
    files = {case.case_id: case.images[0].path.name for case in open_data(phantom.labels).cases}
    assert len(rows) == 9
    for case_id, row in rows.items():
        for name, score in read[files[case_id]].items():
            assert score == pytest.approx(float(row[f"score_{name}"]), abs=1e-4)
