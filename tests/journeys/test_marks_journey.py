"""From outlines of lesions to marked images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pycocotools import mask as coco_mask

from overread.data.phantom import Phantom

METRICS = {"coco_ap", "coco_ap50", "coco_ap75", "tp_ap_50", "tp_ap_70", "tp_ap_90", "instance_dice"}


def test_a_training_on_marks_gives_every_number_of_localisation(marker: Path) -> None:
    evaluation = json.loads((marker / "evaluation.json").read_text())
    assert {row["metric"] for row in evaluation["estimates"]} >= METRICS
    assert 0 < evaluation["threshold"] < 1
    whole = {row["metric"]: row for row in evaluation["estimates"] if row["class_name"] is None}
    # 0.43 to 0.7, by how many threads add up; a network that marks elsewhere gets next to nothing
    assert whole["coco_ap50"]["value"] > 0.25
    assert whole["coco_ap50"]["n_positive"] >= whole["coco_ap50"]["n_cases"] > 0
    assert (marker / "bundle" / "fold-0.safetensors").exists()


def test_how_well_images_are_told_apart_is_measured_beside_the_marks_and_not_mixed_with_them(marker: Path) -> None:
    evaluation = json.loads((marker / "evaluation.json").read_text())
    whole = {row["metric"]: row for row in evaluation["estimates"] if row["class_name"] is None}
    assert whole["image_sensitivity"]["value"] is not None
    for name in ("image_auroc", "image_specificity"):  # every image shows a disc
        assert whole[name]["value"] is None
        assert "negative cases" in whole[name]["method"]
    marks, images = (marker / "report.html").read_text().split("<h2>How well whole images are told apart")
    assert "sensitivity for images" not in marks
    assert "true marks found" not in images.split("<h2>")[0]
    table = pd.read_csv(marker / "predictions.csv")
    highest = table[table["kind"] == "highest mark"].set_index("case_id")["score"]
    assert len(highest) == table["case_id"].nunique() == whole["image_sensitivity"]["n_cases"]
    best = table[table["kind"] == "predicted"].groupby("case_id")["score"].max()
    assert np.allclose(highest[best.index], best)


def test_marks_lie_where_the_discs_are_in_the_grid_of_the_image(
    overread: Any, marker: Path, discs: Path, tmp_path: Path
) -> None:
    said = overread("read", marker, discs / "images", "--out", tmp_path / "read")
    assert said.code == 0, said.err
    threshold = json.loads((marker / "evaluation.json").read_text())["threshold"]
    found = hit = 0
    for answer in json.loads((tmp_path / "read" / "predictions.json").read_text())["predictions"]:
        with Image.open(discs / "labels" / f"{answer['case_id']}.png") as labels:
            truth = np.asarray(labels) > 0
        for finding in answer["findings"]:
            mask = coco_mask.decode(finding["mask"]).astype(bool)
            assert mask.shape == (64, 64)
            assert finding["score"] >= threshold  # what is less sure is for curves and not for eyes
            left, top, right, bottom = finding["box"]
            assert -1 <= left < right <= 65
            assert -1 <= top < bottom <= 65
            found, hit = found + 1, hit + bool((mask & truth).sum() > 0.7 * mask.sum())
        with Image.open(tmp_path / "read" / f"{answer['case_id']}.png") as picture:
            picture.load()
    assert found > 3
    assert hit > 0.8 * found


def test_outlines_in_simulated_ct_are_learned_evaluated_and_read(
    overread: Any, journey: Path, phantom: Phantom, tmp_path: Path
) -> None:
    recipe = (journey / "marks.toml").read_text().replace("epochs = 12", "epochs = 1")
    (tmp_path / "quick.toml").write_text(recipe)
    trained = overread("train", tmp_path / "quick.toml", phantom.marks, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    assert "average precision (COCO, IoU 0.50)" in trained.out
    evaluated = overread("evaluate", tmp_path / "run", phantom.marks, "--split", "test", "--out", tmp_path / "eval")
    assert evaluated.code == 0, evaluated.err
    estimates = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["estimates"]
    assert {row["metric"] for row in estimates} >= METRICS
    assert {row["n_cases"] for row in estimates} == {9}
    read = overread("read", tmp_path / "run", phantom.images[0], "--out", tmp_path / "read")
    assert read.code == 0, read.err
    for folder in ("run", "eval", "read"):
        assert "SIMULATED" in (tmp_path / folder / "report.html").read_text()
