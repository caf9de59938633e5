"""What is on both sides of a split: stopped, repaired or said, from a table of images to a report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from overread import pipeline
from overread.progress import Silent

NEAR = ("c-02", "c-21")
"""Nearly the same picture, of two patients: one in "train", one in "val"."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 images of 30 patients: 20 to train, 6 in "val", 4 in "test"."""
    (tmp_path / "data").mkdir()
    rows = []
    for number in range(30):
        like = 2 if number == 21 else number
        pixels = np.random.default_rng(like).integers(0, 200, (16, 16), dtype=np.uint8)
        pixels[0, 0] += number == 21
        Image.fromarray(pixels).save(tmp_path / "data" / f"c-{number:02d}.png")
        split = "train" if number < 20 else "val" if number < 26 else "test"
        rows.append((f"c-{number:02d}.png", ("cyst", "stone")[number % 2], f"patient {number}", split))
    table = pd.DataFrame(rows, columns=["file", "label", "patient_id", "split"])
    table.to_csv(tmp_path / "data" / "table.csv", index=False)
    return tmp_path / "data" / "table.csv"


def copied(data: Path, original: int, copy: int) -> None:
    (data.parent / f"c-{copy:02d}.png").write_bytes((data.parent / f"c-{original:02d}.png").read_bytes())


def same_patient(data: Path, *numbers: int) -> None:
    table = pd.read_csv(data)
    table.loc[list(numbers), "patient_id"] = "Doe^Jane"
    table.to_csv(data, index=False)


def followed_up(data: Path, *patients: int) -> Path:
    """A table with a new image of each of these patients in "test"."""
    table = pd.read_csv(data)
    rows = []
    for patient in patients:
        pixels = np.random.default_rng(100 + patient).integers(0, 200, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(data.parent / f"again-{patient:02d}.png")
        rows.append((f"again-{patient:02d}.png", "cyst", table["patient_id"][patient], "test"))
    later = data.with_name("later.csv")
    pd.concat([table, pd.DataFrame(rows, columns=table.columns)]).to_csv(later, index=False)
    data.unlink()
    return later


def evaluate(overread: Any, run: Path, data: Path, *more: str) -> tuple[Any, dict[str, Any]]:
    out = run.parent / f"evaluation-{len(list(run.parent.iterdir()))}"
    said = overread("evaluate", run, data, "--out", out, *more)
    return said, json.loads((out / "evaluation.json").read_text()) if said.code == 0 else {}


def train(overread: Any, journey: Path, data: Path, scheme: str, *more: str, settings: str = "") -> tuple[Any, Path]:
    recipe = (journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 1")
    file = data.parent.parent / f"{scheme}.toml"
    file.write_text(recipe.replace("folds = 2\n", f'scheme = "{scheme}"\nfolds = 2\n{settings}'))
    out = data.parent.parent / f"run-{scheme}"
    return overread("train", file, data, "--out", out, *more), out


def test_official_splits_that_leak_stop_until_that_is_accepted_and_then_say_so_first(
    overread: Any, journey: Path, data: Path
) -> None:
    copied(data, 5, 24)
    same_patient(data, 3, 22)
    said, run = train(overread, journey, data, "official")
    assert said.code == 1
    assert "--accept-leaks" in said.err
    assert "Doe" not in said.err
    assert not (run / "folds").exists()

    said, run = train(overread, journey, data, "official", "--accept-leaks")
    assert said.code == 0, said.err
    evaluation = json.loads((run / "evaluation.json").read_text())
    accepted = [warning for warning in evaluation["warnings"] if warning.startswith("LEAK ACCEPTED")]
    assert len(accepted) == 2
    assert "2 cases with all pixels of a case in another split of the data set (c-05, c-24)" in accepted[0]
    assert "2 cases of a patient who is in two splits of the data set (c-03, c-22)" in accepted[1]
    head = (run / "report.html").read_text().split('class="headline"')[0]
    assert all(warning in head for warning in evaluation["warnings"])
    assert {one["n_cases"] for one in evaluation["estimates"]} == {6}
    told = json.loads((run / "bundle" / "bundle.json").read_text())["content"]
    assert told["folds"][0]["n_fit"] == 20
    assert told["accepted_leaks"] == accepted
    read = overread("read", run, data.parent / "c-00.png", "--out", data.parent.parent / "read")
    assert read.code == 0
    assert "LEAK ACCEPTED" in (data.parent.parent / "read" / "report.html").read_text()


def test_a_run_with_accepted_leaks_is_another_run(overread: Any, journey: Path, data: Path) -> None:
    said, run = train(overread, journey, data, "official", "--accept-leaks")
    assert said.code == 0, said.err
    again, _ = train(overread, journey, data, "official")
    assert again.code == 1
    assert "another answer to whether leaks are accepted" in again.err
    assert (run / "report.html").exists()


def test_schemes_that_deal_out_anew_repair_what_official_splits_leak(overread: Any, journey: Path, data: Path) -> None:
    copied(data, 5, 24)
    same_patient(data, 3, 22)
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    fold = pd.read_csv(run / "predictions.csv").set_index("case_id")["fold"]
    assert fold["c-05"] == fold["c-24"]
    assert fold["c-03"] == fold["c-22"]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert (
        "Kept on one side: 2 cases of patients with several and 2 cases that share all pixels" in evaluation["scheme"]
    )
    assert "LEAK" not in (run / "report.html").read_text()


def test_whoever_is_in_the_official_test_split_is_not_learned_from_and_it_can_be_measured_on(
    overread: Any, journey: Path, data: Path
) -> None:
    copied(data, 27, 7)
    same_patient(data, 4, 28)
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    assert not {"c-07", "c-04"} & set(pd.read_csv(run / "predictions.csv")["case_id"])
    scheme = json.loads((run / "evaluation.json").read_text())["scheme"]
    said_so = (
        "2 cases were set aside: their patient or their picture (or nearly the same) is in the official test split"
    )
    assert said_so in scheme
    measured = overread("evaluate", run, data, "--split", "test", "--out", data.parent.parent / "eval")
    assert measured.code == 0, measured.err
    assert json.loads((data.parent.parent / "eval" / "evaluation.json").read_text())["warnings"] == []


def test_a_test_split_that_grew_by_patients_who_were_learned_from_is_not_measured(
    overread: Any, journey: Path, data: Path
) -> None:
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    later = followed_up(data, 3, 5, 28)  # the last was in the test split before
    said, _ = evaluate(overread, run, later, "--split", "test")
    assert said.code == 1
    assert "2 of 7 images in the split 'test' of 'later' (again-03, again-05) are of patients of whom" in said.err
    assert "patient 3" not in said.err
    assert "patient" not in json.dumps(json.loads((run / "bundle" / "bundle.json").read_text())["content"]["patients"])


def test_other_data_with_patients_who_were_learned_from_say_so_first(overread: Any, journey: Path, data: Path) -> None:
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    table = pd.read_csv(later := followed_up(data, 3, 5, 28))
    table[table["split"] == "test"].drop(columns="split").to_csv(later, index=False)
    said, evaluation = evaluate(overread, run, later)
    assert said.code == 0, said.err
    warning = "2 of 7 images (again-03, again-05) are of patients of whom the model learned from other images"
    assert evaluation["warnings"][0].startswith(warning)
    assert "was learned from" not in evaluation["scheme"]

    table.iloc[:-3].drop(columns="split").to_csv(later, index=False)
    said, evaluation = evaluate(overread, run, later)
    assert "26 of 30 images were seen in training" in evaluation["warnings"][0]
    table.iloc[[*range(26, 30), -1]].drop(columns="split").to_csv(later, index=False)
    said, evaluation = evaluate(overread, run, later)
    assert evaluation["warnings"] == []
    assert "pixel for pixel, was learned from, nor anything else of their patients." in evaluation["scheme"]


def test_a_training_whose_test_split_grew_while_it_was_interrupted_is_not_gone_on_with(
    overread: Any, journey: Path, data: Path
) -> None:
    class Killed(Silent):
        def say(self, line: str) -> None:
            if "fold 2 of 2: epoch 1" in line:
                raise KeyboardInterrupt

    table, recipe, run = data.read_text(), data.parent.parent / "k-fold.toml", data.parent.parent / "run-k-fold"
    recipe.write_text((journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 1"))
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(recipe, data, run, progress=Killed())
    followed_up(data, 3, 5).rename(data)
    said, _ = train(overread, journey, data, "k-fold")
    assert said.code == 1
    assert "parted otherwise" in said.err
    assert not (run / "report.html").exists()
    data.write_text(table)
    said, _ = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err


def test_a_split_of_data_that_share_patients_is_measured_where_the_model_learned_from_none_of_them(
    overread: Any, journey: Path, data: Path
) -> None:
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    table = pd.read_csv(later := followed_up(data, 27, 28))
    table = table[table["split"] == "test"].copy()
    table.loc[table["file"].str.startswith("again"), "split"] = "train"
    table.to_csv(later, index=False)
    said, evaluation = evaluate(overread, run, later, "--split", "test")
    assert said.code == 0, said.err
    assert evaluation["warnings"] == []


def test_of_a_model_that_learned_where_no_patients_were_named_nobody_knows_whom_it_knows(
    overread: Any, journey: Path, data: Path
) -> None:
    table = pd.read_csv(data)
    table.drop(columns="patient_id").to_csv(data, index=False)
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    said, evaluation = evaluate(overread, run, data, "--split", "test")
    assert said.code == 0, said.err
    assert evaluation["warnings"] == []
    assert "patients" not in evaluation["scheme"]
    table.to_csv(data, index=False)
    same_patient(data, 3, 28)
    said, _ = evaluate(overread, run, data, "--split", "test")
    assert said.code == 1
    assert "may know patients of 'test'" in said.err


def test_nearly_the_same_picture_on_both_sides_is_said_first(overread: Any, journey: Path, data: Path) -> None:
    said, run = train(overread, journey, data, "official")
    assert said.code == 0, said.err
    (warning,) = json.loads((run / "evaluation.json").read_text())["warnings"]
    assert warning.startswith(f"1 pair of images ({NEAR[0]} and {NEAR[1]}) show nearly the same picture")
    assert warning in (run / "report.html").read_text().split('class="headline"')[0]


def test_nearly_the_same_picture_is_kept_on_one_side_where_parts_are_dealt_and_that_is_said(
    overread: Any, journey: Path, data: Path
) -> None:
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    fold = pd.read_csv(run / "predictions.csv").set_index("case_id")["fold"]
    assert fold[NEAR[0]] == fold[NEAR[1]]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert "Kept on one side: 2 cases that show nearly another's picture." in evaluation["scheme"]
    assert evaluation["scheme"] in (run / "report.html").read_text().replace("&#39;", "'")
    assert evaluation["warnings"] == []


def test_near_copies_can_be_left_apart_to_compare_with_parts_that_were_made_so(
    overread: Any, journey: Path, data: Path
) -> None:
    said, run = train(overread, journey, data, "k-fold", settings='near_copies = "apart"\n')
    assert said.code == 0, said.err
    fold = pd.read_csv(run / "predictions.csv").set_index("case_id")["fold"]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert "nearly another" not in evaluation["scheme"]
    assert len(evaluation["warnings"]) == (fold[NEAR[0]] != fold[NEAR[1]])


@pytest.mark.parametrize("near_copies", ["apart", "together"])
def test_near_copies_of_what_was_learned_from_are_told_where_the_test_split_is_measured(
    near_copies: str, overread: Any, journey: Path, data: Path
) -> None:
    table = pd.read_csv(data)
    table.loc[21, "split"] = "test"
    table.to_csv(data, index=False)
    said, run = train(overread, journey, data, "k-fold", settings=f'near_copies = "{near_copies}"\n')
    assert said.code == 0, said.err
    said, evaluation = evaluate(overread, run, data, "--split", "test")
    assert said.code == 0, said.err
    if near_copies == "together":  # which set aside what is like the test split
        assert evaluation["warnings"] == []
        assert "was learned from" in evaluation["scheme"]
        return
    (warning,) = evaluation["warnings"]
    assert warning.startswith(f"1 pair of images ({NEAR[0]} and {NEAR[1]}) show nearly the same picture")
    assert "was learned from" not in evaluation["scheme"]
    said, evaluation = evaluate(overread, run, data)
    assert "25 of 30 images were seen in training" in evaluation["warnings"][0]
    assert evaluation["warnings"][1] == warning


def test_near_copies_stop_nobody_where_too_few_groups_would_be_left(overread: Any, journey: Path, data: Path) -> None:
    table = pd.read_csv(data).iloc[[2, 21, 1, 3]].assign(split="train", label=["cyst", "cyst", "stone", "stone"])
    table.to_csv(data, index=False)
    said, run = train(overread, journey, data, "k-fold")
    assert said.code == 0, said.err
    warnings = json.loads((run / "evaluation.json").read_text())["warnings"]
    assert warnings[0].startswith("Images that show nearly the same picture were not kept on one side: too few groups")
    assert warnings[1].startswith(f"1 pair of images ({NEAR[0]} and {NEAR[1]})")


def test_inspection_shows_what_official_splits_share(overread: Any, data: Path) -> None:
    copied(data, 5, 24)
    same_patient(data, 3, 22)
    said = overread("inspect", data)
    assert said.code == 0
    for name in ("patient-in-two-splits", "duplicates-in-two-splits", "near-copies-in-two-splits"):
        assert f"[{name}]" in said.out
    assert "Doe" not in said.out


def test_accepting_leaks_of_a_scheme_that_parts_by_itself_is_refused(overread: Any, journey: Path, data: Path) -> None:
    said, _ = train(overread, journey, data, "k-fold", "--accept-leaks")
    assert said.code == 1
    assert "is for scheme = 'official'" in said.err
