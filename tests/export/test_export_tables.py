import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from overread.data.manifest import Case, ImageRef
from overread.errors import InputError
from overread.evaluation.classification import classification_estimates
from overread.export.reading import Reading
from overread.export.tables import (
    write_frame_scores_csv,
    write_json,
    write_predictions_csv,
    write_predictions_json,
)
from overread.export.wording import answer_words
from overread.finding import Finding, Mask, Prediction

PATIENTS = [("a", "Doe^Jane"), ("b", "Doe^Jane"), ("c", "Doe^John"), ("d", "d")]
MakeReading = Callable[..., Reading]


def test_a_statistician_gets_the_same_auroc_from_the_table(tmp_path: Path, labelled: MakeReading) -> None:
    rng = np.random.default_rng(0)
    truth = ["malignant" if x else "benign" for x in rng.integers(0, 2, 40)]
    readings = [labelled(i, float(rng.random(dtype=np.float32)), name) for i, name in enumerate(truth)]
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", readings))
    assert list(table) == [
        *("case_id", "patient_id", "group", "split", "fold", "truth"),
        *("score_malignant", "score_benign", "refused"),
    ]
    by_hand = roc_auc_score(table["truth"] == "malignant", table["score_malignant"])
    scores = np.array([list(reading.prediction.scores.values()) for reading in readings])
    estimates = classification_estimates(
        [int(name == "benign") for name in truth],
        scores,
        ("malignant", "benign"),
        [str(i) for i in range(40)],
        task="single-label",
        draws=100,
        level=0.95,
        seed=0,
    )
    ours = next(e.value for e in estimates if e.metric == "auroc" and e.class_name == "malignant")
    assert by_hand == pytest.approx(ours, abs=1e-12)
    assert table["score_malignant"].tolist() == scores[:, 0].tolist()


def test_patients_are_told_apart_and_not_named(tmp_path: Path) -> None:
    cases = [Case(name, who, (ImageRef(Path("a.png")),), labels={"a": True}) for name, who in PATIENTS]
    readings = [Reading(Prediction(case.case_id, (), {"a": 0.5}), None, case, case.case_id) for case in cases]
    path = write_predictions_csv(tmp_path / "p.csv", readings)
    assert "Doe" not in path.read_text()
    told = pd.read_csv(path)["patient_id"].tolist()
    assert told[0] == told[1]
    assert len(set(told)) == 3


def test_a_patient_who_is_called_like_one_of_his_images_is_one_patient(tmp_path: Path, labelled: MakeReading) -> None:
    readings = [labelled(number, 0.5, "benign") for number in range(4)]
    cases = [replace(one.truth, patient_id=f"case-{n // 2 * 2}") for n, one in enumerate(readings) if one.truth]
    readings = [replace(one, truth=case) for one, case in zip(readings, cases, strict=True)]
    told = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", readings))["patient_id"].tolist()
    assert (told[0], told[2]) == (told[1], told[3])
    assert told[0] != told[2]


def test_where_no_patient_is_named_each_image_stands_for_one(tmp_path: Path, labelled: MakeReading) -> None:
    readings = [labelled(number, 0.5, "benign") for number in range(3)]
    readings = [replace(one, truth=replace(one.truth, patient_id=one.truth.case_id)) for one in readings if one.truth]
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", readings))
    assert table["patient_id"].tolist() == table["case_id"].tolist()


def test_where_classes_do_not_exclude_each_other_each_has_a_truth_column(tmp_path: Path) -> None:
    labels = {"nodule": True, "effusion": None, "mass": False}
    case = Case("c", "p", (ImageRef(Path("a.png")),), labels=labels)
    reading = Reading(Prediction("c", (), dict.fromkeys(labels, 0.5)), None, case, "c", exclusive=False)
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", [reading]))
    assert table.loc[0, "truth_nodule"] == 1
    assert table.loc[0, "truth_mass"] == 0
    assert np.isnan(table.loc[0, "truth_effusion"])


def test_a_table_of_marks_holds_marks_truth_and_images_without_either(
    tmp_path: Path, marked: Reading, refused: Reading
) -> None:
    assert marked.truth is not None
    normal = Reading(Prediction("case-2"), None, replace(marked.truth, case_id="case-2", marks=()), "n")
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", [marked, normal, refused]))
    assert table["kind"].tolist() == ["predicted", "predicted", "truth", "no marks", "refused"]
    assert table["truth_iou"].tolist()[:2] == [1.0, 0.0]
    assert Mask.from_coco(json.loads(table.loc[0, "mask"])) == marked.prediction.findings[0].region.mask
    assert np.isnan(table.loc[1, "mask"])  # a box alone
    assert table.loc[0, ["left", "top", "right", "bottom", "area_px"]].tolist() == [10, 5, 18, 10, 40]
    assert table["refused"].tolist()[4].startswith("It is 3 x 2 px")


def test_the_overlap_with_the_truth_is_that_of_the_masks(tmp_path: Path, marked: Reading) -> None:
    half = np.zeros((20, 30), dtype=bool)
    half[5:10, 10:14] = True
    region = replace(marked.prediction.findings[0].region, mask=Mask.from_array(half))
    prediction = replace(marked.prediction, findings=(Finding("tumour", region, 0.9),))
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", [replace(marked, prediction=prediction)]))
    assert table.loc[0, "truth_iou"] == 0.5


def test_a_model_that_marks_gets_a_table_of_marks_also_where_it_scores_the_image(
    tmp_path: Path, marked: Reading
) -> None:
    scored = replace(marked, prediction=replace(marked.prediction, scores={"tumour": 0.87, "cyst": 0.5}))
    plain, more = (
        write_predictions_csv(tmp_path / "p.csv", [one]).read_text().splitlines() for one in (marked, scored)
    )
    assert more[: len(plain)] == plain
    assert all(",highest mark," in line for line in more[len(plain) :])


def test_without_truth_the_overlap_stays_empty(tmp_path: Path, marked: Reading) -> None:
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", [replace(marked, truth=None)]))
    assert table["truth_iou"].isna().all()


def test_json_holds_all_that_was_said(tmp_path: Path, marked: Reading, refused: Reading) -> None:
    value = json.loads(write_predictions_json(tmp_path / "p.json", [marked, refused]).read_text())
    assert (value["format"], value["bundle"], value["simulated"]) == (1, "b", False)
    first, second = value["predictions"]
    assert (first["case_id"], first["source"], first["refused"]) == ("case-1", "image 1", None)
    assert first["findings"][1] == {"label": "cyst", "score": 0.5, "interval": None, "box": [0, 0, 4, 4], "mask": None}
    assert Mask.from_coco(first["findings"][0]["mask"]) == marked.prediction.findings[0].region.mask
    assert second["refused"].startswith("It is 3 x 2 px")
    assert (second["scores"], second["scores_are"]) == ({}, None)  # a refused image says nothing of its model
    assert second["predicted_class"] is None


def test_the_answer_is_the_highest_score_or_what_the_model_states(labelled: MakeReading) -> None:
    reading = labelled(0, 0.4)
    assert reading.predicted_class == "benign"
    stated = replace(reading.prediction, findings=(Finding("malignant", score=0.4),))
    assert replace(reading, prediction=stated).predicted_class == "malignant"
    assert replace(reading, exclusive=False).predicted_class is None


def test_numbers_that_are_none_are_refused_and_nothing_is_written(tmp_path: Path, labelled: MakeReading) -> None:
    reading = labelled(0, float("nan"))
    with pytest.raises(InputError, match="case-0"):
        write_predictions_json(tmp_path / "p.json", [reading])
    with pytest.raises(InputError, match="case-0"):
        write_predictions_csv(tmp_path / "p.csv", [reading])
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("inf"))
    assert list(tmp_path.iterdir()) == []


def test_two_bundles_or_two_sets_of_classes_do_not_go_into_one_table(tmp_path: Path, labelled: MakeReading) -> None:
    one, two = labelled(0, 0.5), labelled(1, 0.5)
    other_bundle = replace(two, prediction=replace(two.prediction, bundle_id="c"))
    other_classes = replace(two, prediction=replace(two.prediction, scores={"cyst": 1.0}))
    with pytest.raises(InputError, match="one bundle"):
        write_predictions_json(tmp_path / "p.json", [one, other_bundle])
    with pytest.raises(InputError, match="one model"):
        write_predictions_csv(tmp_path / "p.csv", [one, other_classes])


def test_slices_are_scored_in_a_table_of_their_own_and_in_the_json(tmp_path: Path, labelled: MakeReading) -> None:
    frames = {"malignant": (0.25, None), "benign": (0.75, None)}
    reading = replace(labelled(0, 0.25), prediction=replace(labelled(0, 0.25).prediction, frame_scores=frames))
    (path,) = write_frame_scores_csv(tmp_path / "f.csv", [labelled(1, 0.5), reading])
    assert path.read_text() == "case_id,slice,score_malignant,score_benign\ncase-0,1,0.25,0.75\ncase-0,2,,\n"
    (said,) = json.loads(write_predictions_json(tmp_path / "p.json", [reading]).read_text())["predictions"]
    assert said["frame_scores"] == {"malignant": [0.25, None], "benign": [0.75, None]}


def test_without_sequences_there_is_no_table_of_slices(tmp_path: Path, labelled: MakeReading) -> None:
    assert write_frame_scores_csv(tmp_path / "f.csv", [labelled(1, 0.5)]) == []
    assert list(tmp_path.iterdir()) == []


def test_the_highest_mark_of_an_image_is_kept_beside_its_marks(tmp_path: Path, marked: Reading) -> None:
    prediction = replace(marked.prediction, findings=(), scores={"tumour": 0.31, "cyst": 0.0})
    quiet = replace(marked, prediction=prediction, marks_lesions=True, exclusive=False, classes=("tumour", "cyst"))
    table = pd.read_csv(write_predictions_csv(tmp_path / "p.csv", [quiet]))
    assert table["kind"].tolist() == ["truth", "highest mark", "highest mark"]
    assert table.set_index("label").loc["cyst", "score"] == 0
    (said,) = json.loads(write_predictions_json(tmp_path / "p.json", [quiet]).read_text())["predictions"]
    assert (said["scores"], said["scores_are"]) == ({"tumour": 0.31, "cyst": 0.0}, "highest mark")
    assert answer_words(quiet) == "no marks"  # 0.31 is below the point from which a mark is shown
