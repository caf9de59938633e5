"""Runs that were written by the writers of a training, and are held against each other."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread import pipeline
from overread.data.manifest import Case, ImageRef, Manifest, Task
from overread.errors import InputError, OutputExists
from overread.evaluation.section import EvaluationSection
from overread.export.comparison import Comparison
from overread.export.tables import write_json, write_predictions_csv
from overread.finding import Finding, Mask, Prediction, Region
from overread.inference.assessment import Assessment
from overread.pipeline import presenting
from overread.pipeline.finished_run import read_run

TASKS: tuple[Task, ...] = ("single-label", "multi-label", "boxes", "masks")
CLASSES = ("cyst", "mass", "stone")
MODEL: dict[str, float | None] = {
    "n_networks": 2, "n_parameters": 11_000_000, "weights_bytes": 44_000_000, "training_seconds": 90.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageRef:
    file = tmp_path_factory.mktemp("images") / "a.png"
    file.write_bytes(b"x")
    return ImageRef(file)


def region(rng: np.random.Generator, near: Region | None = None) -> Region:
    left, top = (
        rng.integers(0, 30, 2) if near is None else np.clip(np.array(near.box[:2]) + rng.integers(-1, 2, 2), 0, 30)
    )
    pixels = np.zeros((48, 48), dtype=bool)
    pixels[int(top) : int(top) + 12, int(left) : int(left) + 10] = True
    pixels[int(top), int(left)] = False
    return Region.from_mask(Mask.from_array(pixels))


def data_set(task: Task, image: ImageRef, *, cases: int = 24, classes: tuple[str, ...] = CLASSES) -> Manifest:
    """Two images of each patient."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(cases):
        case = Case(f"c{number:02d}", f"Doe^{number // 2}", (image,))
        if task == "single-label":
            made.append(replace(case, labels={name: name == classes[number % len(classes)] for name in classes}))
        elif task == "multi-label":
            answers = rng.choice([True, False, None], len(classes), p=[0.4, 0.5, 0.1])
            made.append(replace(case, labels=dict(zip(classes, answers.tolist(), strict=True))))
        else:
            marks = tuple(Finding(str(rng.choice(classes)), region(rng)) for _ in range(number % 4))
            made.append(replace(case, marks=marks))
    return Manifest("lesions", "test", task, classes, tuple(made))


def answers_to(manifest: Manifest, seed: int, *, skill: float = 1.0) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    said = []
    for case in manifest.cases:
        if manifest.marks_lesions:
            assert case.marks is not None
            right = [
                Finding(m.label, region(rng, m.region), rng.uniform(0.3, 1)) for m in case.marks if rng.random() < skill
            ]
            wrong = [Finding(manifest.classes[0], region(rng), rng.random()) for _ in range(2)]
            said.append(Prediction(case.case_id, tuple(sorted((*right, *wrong), key=lambda mark: -(mark.score or 0)))))
            continue
        logits = {name: skill * bool(case.labels[name]) + rng.normal() for name in manifest.classes}
        if manifest.task == "single-label":
            total = sum(np.exp(value) for value in logits.values())
            scores = {name: float(np.exp(value) / total) for name, value in logits.items()}
        else:
            scores = {name: float(1 / (1 + np.exp(-value))) for name, value in logits.items()}
        said.append(Prediction(case.case_id, scores=scores))
    return said


def written(
    folder: Path,
    manifest: Manifest,
    predictions: Sequence[Prediction],
    *,
    warnings: Sequence[str] = (),
    level: float = 0.95,
    groups: dict[str, str] | None = None,
    thresholds: Sequence[float] = (0.4, 0.6),
    repeated: bool = False,
) -> Path:
    """A run of some folds, as a training writes it; `repeated`: every case is tested by two of them."""
    folder.mkdir(parents=True)
    folds = {case.case_id: number % len(thresholds) for number, case in enumerate(manifest.cases)}
    own = {key: (thresholds[fold] + repeated * thresholds[fold - 1]) / (1 + repeated) for key, fold in folds.items()}
    folds = {} if repeated else folds
    refused = [one for one in predictions if one.refused is not None]
    assessment = Assessment.of(manifest, predictions, own if manifest.marks_lesions else 0.5, groups)
    estimates = assessment.estimates(EvaluationSection(draws=100, level=level), seed=7)
    write_predictions_csv(
        folder / "predictions.csv", list(presenting.readings_of(assessment, refused, manifest, folds))
    )
    write_json(
        folder / "evaluation.json",
        presenting.evaluation_json(
            assessment, estimates, split=None, scheme="two folds", threshold=0.5,
            thresholds_of_folds=dict(enumerate(thresholds)), warnings=warnings, refused=refused,
            bundle_id="b", model=MODEL,
        ),
    )  # fmt: skip
    return folder


def told(folder: Path) -> dict[tuple[str, str | None], dict[str, Any]]:
    rows = json.loads((folder / "evaluation.json").read_text())["estimates"]
    return {(row["metric"], row["class_name"]): row for row in rows}


@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_of_each_run_are_those_of_its_own_evaluation(task: Task, image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set(task, image)
    one, two = (written(tmp_path / name, manifest, answers_to(manifest, seed)) for name, seed in (("a", 1), ("b", 2)))
    made = pipeline.compare([one, two], tmp_path / "out")
    for run, folder in ((made.reference, one), (made.rivals[0].run, two)):
        assert {key: estimate.as_json() for key, estimate in run.estimates.items()} == told(folder)
        assert (run.n_parameters, run.training_seconds) == (11_000_000, 90.5)
    for row in made.rivals[0].differences:
        values = [told(folder)[row.metric, row.class_name]["value"] for folder in (one, two)]
        assert row.value is None if None in values else row.value == pytest.approx(values[1] - values[0], abs=1e-12)
    assert any(row.value for row in made.rivals[0].differences)
    assert (made.n_cases, made.n_patients, made.left_out, list(made.warnings)) == (24, 12, 0, [])


@pytest.mark.parametrize("task", TASKS)
def test_a_run_held_against_itself_differs_by_nothing(task: Task, image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set(task, image)
    run = written(tmp_path / "a", manifest, answers_to(manifest, 1))
    made = pipeline.compare([run, run], tmp_path / "out")
    rows = [row for row in made.rivals[0].differences if row.value is not None]
    assert {(row.value, row.low, row.high, row.verdict) for row in rows} == {(0, 0, 0, "the same")}
    tests = [row for row in rows if row.test is not None]
    assert all((row.test.p_value, row.p_holm) == (1, 1) for row in tests if row.test)
    assert bool(tests) is not manifest.marks_lesions
    assert (made.reference.name, made.rivals[0].run.name) == ("a", "a (2)")


@given(task=st.sampled_from(TASKS), seed=st.integers(0, 1000))
@settings(max_examples=4, deadline=None)
def test_swapping_runs_flips_every_sign(
    task: Task, seed: int, image: ImageRef, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, manifest = tmp_path_factory.mktemp("swap"), data_set(task, image)
    runs = [written(folder / name, manifest, answers_to(manifest, seed + k)) for k, name in enumerate("ab")]
    there, back = (
        pipeline.compare(order, folder / name).rivals[0].differences for order, name in ((runs, "1"), (runs[::-1], "2"))
    )
    for one, two in zip(there, back, strict=True):
        for end, other in ((one.value, two.value), (one.low, two.high), (one.high, two.low)):
            assert (end is None) == (other is None)
            assert end is None or other is None or end == pytest.approx(-other, abs=1e-9)
        assert (one.p_holm is None) == (two.p_holm is None)
        assert one.p_holm is None or one.p_holm == pytest.approx(two.p_holm)


def test_cases_that_only_one_run_answered_are_left_out_and_counted(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("single-label", image)
    said = answers_to(manifest, 1)
    some = [replace(one, scores={}, refused="all pixels are equal") if i < 3 else one for i, one in enumerate(said)]
    one = written(tmp_path / "a", manifest, said)
    two = written(tmp_path / "b", manifest, some, warnings=["3 images were refused"])
    made = pipeline.compare([one, two], tmp_path / "out")
    assert (made.n_cases, made.left_out, made.reference.n_answered) == (21, 3, 24)
    assert made.reference.estimates["auroc", None].value == told(two)["auroc", None]["value"]  # not that of 24
    assert {row.value for row in made.rivals[0].differences} == {0}
    assert list(made.warnings) == [
        "b: 3 images were refused",
        "3 of 24 images were not answered by all runs (b lacks 3) and are in none of the numbers",
    ]


def test_runs_with_intervals_of_other_levels_are_measured_at_the_higher(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("single-label", image)
    runs = [written(tmp_path / str(level), manifest, answers_to(manifest, 1), level=level) for level in (0.8, 0.95)]
    made = pipeline.compare(runs, tmp_path / "out")
    assert {one.level for run in (made.reference, made.rivals[0].run) for one in run.estimates.values()} == {0.95}


def other_truth(manifest: Manifest) -> Manifest:
    first, *others = manifest.cases
    return manifest.with_cases((replace(first, labels=others[0].labels), *others))


def other_patients(manifest: Manifest) -> Manifest:
    return manifest.with_cases(tuple(replace(case, patient_id=case.case_id) for case in manifest.cases))


def other_cases(manifest: Manifest) -> Manifest:
    return manifest.with_cases(tuple(replace(case, case_id=f"x{case.case_id}") for case in manifest.cases))


@pytest.mark.parametrize("task", TASKS)
def test_a_patient_who_is_called_like_one_of_his_images_is_one_patient(
    task: Task, image: ImageRef, tmp_path: Path
) -> None:
    manifest = data_set(task, image)
    cases = (replace(case, patient_id=f"c{n // 2 * 2:02d}") for n, case in enumerate(manifest.cases))
    run = written(tmp_path / "a", manifest.with_cases(tuple(cases)), answers_to(manifest, 1))
    made = pipeline.compare([run, run], tmp_path / "out")
    assert made.names_patients
    assert made.n_patients == 12
    assert {row.n_patients for row in made.rivals[0].differences if row.class_name is None} == {12}


@pytest.mark.parametrize("task", TASKS)
def test_patients_who_share_a_picture_are_drawn_together(task: Task, image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set(task, image)
    tied = {"c02": "Doe^0", "c03": "Doe^0"}
    runs = [written(tmp_path / f"{n}", manifest, answers_to(manifest, n), groups=tied) for n in (1, 2)]
    made = pipeline.compare(runs, tmp_path / "out")
    assert (made.n_patients, made.n_groups) == (12, 11)
    assert {row.n_patients for row in made.rivals[0].differences if row.class_name is None} == {11}
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "24 images of 12 patients (11 groups, as copies count as one) that both runs answered" in page
    assert "Doe" not in (runs[0] / "predictions.csv").read_text()
    edited(runs[0], lambda rows: [row.update(group="another") for row in rows if row["case_id"] == "c23"])
    with pytest.raises(InputError, match=r"speaks of 11 groups and its predictions.csv of 12. One of the two"):
        read_run(runs[0], name="a")


def test_what_any_run_found_to_be_copies_is_drawn_together(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("single-label", image)
    ties = ({"c02": "Doe^0", "c03": "Doe^0"}, {"c04": "Doe^1", "c05": "Doe^1"}, {})
    runs = [written(tmp_path / f"{n}", manifest, answers_to(manifest, n), groups=tied) for n, tied in enumerate(ties)]
    assert pipeline.compare(runs, tmp_path / "out").n_groups == 10


@pytest.mark.parametrize("task", TASKS)
def test_a_run_with_repeated_folds_is_compared(task: Task, image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set(task, image)
    runs = [
        written(tmp_path / str(n), manifest, answers_to(manifest, n), thresholds=(0.3, 0.5, 0.9), repeated=n > 0)
        for n in range(2)
    ]
    made = pipeline.compare(runs, tmp_path / "out")
    for run, folder in zip((made.reference, made.rivals[0].run), runs, strict=True):
        assert {key: estimate.as_json() for key, estimate in run.estimates.items()} == told(folder)


def test_equal_marks_that_count_from_other_scores_are_not_the_same_answers(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("boxes", image)
    said = answers_to(manifest, 1)
    runs = [written(tmp_path / f"{at}", manifest, said, thresholds=(at,)) for at in (0.3, 0.7)]
    rows = {row.key: row for row in pipeline.compare(runs, tmp_path / "out").rivals[0].differences}
    fewer = rows["false_marks", None]
    assert fewer.value
    assert fewer.low is not None
    assert fewer.high is not None
    assert fewer.low < fewer.value < fewer.high < 0
    assert {rows["marks_found", None].verdict, fewer.verdict} == {"worse", "better"}
    assert "the same" not in {row.verdict for row in rows.values()}


def fewer_classes(manifest: Manifest) -> Manifest:
    return manifest.with_classes((*CLASSES, "scar"), task=manifest.task)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_truth, r"'a' and 'b' do not know the same truth of 1 of 24 cases that both answered \(c00\)"),
        (other_patients, "do not know the same patient of 24 of 24 cases"),
        (other_cases, "No case was answered by all of a, b"),
        (fewer_classes, "'a' knows the classes cyst, mass, stone and 'b' cyst, mass, stone, scar"),
    ],
)
def test_runs_on_other_data_are_refused_by_name_with_what_to_do(
    change: Callable[[Manifest], Manifest], words: str, image: ImageRef, tmp_path: Path
) -> None:
    manifest = data_set("single-label", image)
    other = change(manifest)
    runs = [written(tmp_path / name, data, answers_to(data, 1)) for name, data in (("a", manifest), ("b", other))]
    with pytest.raises(InputError, match=words) as refusal:
        pipeline.compare(runs, tmp_path / "out")
    assert "Compare runs" in str(refusal.value)
    assert "Doe" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_runs_of_another_task_are_refused(image: ImageRef, tmp_path: Path) -> None:
    tasks: tuple[Task, ...] = ("boxes", "masks")
    manifests = [data_set(task, image) for task in tasks]
    runs = [written(tmp_path / one.task, one, answers_to(one, 1)) for one in manifests]
    with pytest.raises(InputError, match="'boxes' answers with boxes and 'masks' with masks"):
        pipeline.compare(runs, tmp_path / "out")


def test_restored_images_are_no_answers_to_compare(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("single-label", image)
    run = written(tmp_path / "a", manifest, answers_to(manifest, 1))
    told_there = (run / "evaluation.json").read_text()
    (run / "evaluation.json").write_text(told_there.replace('"single-label"', '"reconstruction"'))
    with pytest.raises(InputError, match="a: it answers with reconstruction; labels and marks are what"):
        read_run(run, name="a")


def test_a_comparison_takes_two_finished_runs_and_a_new_folder(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("boxes", image)
    run = written(tmp_path / "a", manifest, answers_to(manifest, 1))
    with pytest.raises(InputError, match="two or more runs; found 1"):
        pipeline.compare([run], tmp_path / "out")
    with pytest.raises(InputError, match=r"holds no evaluation.json. Name the folder of a finished"):
        pipeline.compare([run, tmp_path], tmp_path / "out")
    with pytest.raises(OutputExists):
        pipeline.compare([run, run], run)


def edited(run: Path, change: Callable[[list[dict[str, str]]], object], *, without: str | None = None) -> None:
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with open(run / "predictions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != without], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("single-label", lambda rows: rows[0].update(score_cyst="0.99"), "One of the two was changed"),
        (
            "single-label",
            lambda rows: rows[0].update(score_cyst="high"),
            "holds 'high' as score_cyst of the case 'c00'",
        ),
        ("single-label", lambda rows: rows[0].update(score_cyst="nan"), "Scores are numbers from 0 to 1"),
        ("single-label", lambda rows: rows[0].update(truth="scar"), "gives the case 'c00' none of the classes"),
        ("single-label", lambda rows: rows.append(rows[0]), "has the case 'c00' twice"),
        ("multi-label", lambda rows: rows[0].update(truth_cyst="2"), "holds '2' as truth_cyst"),
        ("masks", lambda rows: rows[0].update(mask='{"size": [9, 9], "counts": "zzz"}'), "as mask of the case 'c00'"),
        ("masks", lambda rows: rows[0].update(mask=""), "holds '' as mask"),
        ("boxes", lambda rows: rows[0].update(threshold="high"), "holds 'high' as threshold of the case 'c00'"),
        ("boxes", lambda rows: rows.pop(0), "One of the two was changed"),
        ("single-label", lambda rows: rows[0].update(patient_id="c00"), "speaks of 12 patients and its .* of 13"),
    ],
)
def test_a_table_that_is_not_what_was_written_is_refused(
    task: Task, change: Callable[[list[dict[str, str]]], object], words: str, image: ImageRef, tmp_path: Path
) -> None:
    manifest = data_set(task, image)
    run = written(tmp_path / "a", manifest, answers_to(manifest, 1))
    edited(run, change)
    with pytest.raises(InputError, match=words):
        read_run(run, name="a")


def test_masks_of_an_older_run_are_missed_by_name(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("masks", image)
    run = written(tmp_path / "a", manifest, answers_to(manifest, 1))
    edited(run, lambda rows: None, without="mask")
    with pytest.raises(
        InputError, match=r"has no column 'mask', which older versions did not write. Train or evaluate"
    ):
        read_run(run, name="a")


def test_an_older_run_that_does_not_say_what_its_model_cost_is_compared(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("multi-label", image)
    run = written(tmp_path / "a", manifest, answers_to(manifest, 1))
    evaluation = json.loads((run / "evaluation.json").read_text())
    del evaluation["model"]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    assert pipeline.compare([run, run], tmp_path / "out").reference.n_parameters is None
    assert "not kept" in (tmp_path / "out" / "comparison.html").read_text()
    (run / "evaluation.json").write_text(json.dumps(evaluation | {"version": 2}))
    with pytest.raises(InputError, match=r"a: its evaluation.json is not what was written \(version"):
        pipeline.compare([run, run], tmp_path / "again")


def test_data_that_are_not_equal_to_the_last_byte_are_said(image: ImageRef, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"another picture")
    manifest, other = (data_set("single-label", ref) for ref in (image, ImageRef(tmp_path / "b.png")))
    runs = [written(tmp_path / name, data, answers_to(data, 1)) for name, data in (("a", manifest), ("b", other))]
    (warning,) = pipeline.compare(runs, tmp_path / "out").warnings
    assert "not equal to the last byte" in warning


def test_several_runs_are_held_against_the_first_and_their_tests_are_corrected(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("single-label", image, cases=60, classes=("benign", "malignant"))
    runs = [written(tmp_path / f"{k}/run", manifest, answers_to(manifest, k, skill=1.0 + k)) for k in range(3)]
    made = pipeline.compare(runs, tmp_path / "out")
    assert [made.reference.name, *(rival.run.name for rival in made.rivals)] == ["0/run", "1/run", "2/run"]
    assert made.n_tests == 2  # two classes are one question
    tested = [row for rival in made.rivals for row in rival.differences if row.p_holm is not None]
    assert {row.key for row in tested} == {("auroc", None)}
    p = sorted(row.test.p_value for row in tested if row.test and row.test.p_value is not None)
    assert sorted(row.p_holm for row in tested if row.p_holm is not None) == [min(1, 2 * p[0]), max(2 * p[0], p[1])]
    assert all(
        "60 cases; it counts cases, and these are of 30 patients" in row.test.method for row in tested if row.test
    )


def test_the_files_say_what_was_found(image: ImageRef, tmp_path: Path) -> None:
    manifest = data_set("masks", image)
    runs = [
        written(tmp_path / name, manifest, answers_to(manifest, 1, skill=k)) for name, k in (("a", 0.2), ("b", 1.0))
    ]
    made: Comparison = pipeline.compare(runs, tmp_path / "out")
    told_json = json.loads((tmp_path / "out" / "comparison.json").read_text())
    with open(tmp_path / "out" / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [run["name"] for run in told_json["runs"]] == ["a", "b"]
    assert told_json["runs"][0]["weights_bytes"] == 44_000_000
    assert len(told_json["differences"]) + 4 == len(rows)  # what the models cost stands in the table too
    for said, row, one in zip(told_json["differences"], rows, made.rivals[0].differences, strict=False):
        assert (said["metric"], said["value"], said["verdict"]) == (one.metric, one.value, one.verdict)
        assert (row["metric"], row["class"], row["verdict"]) == (one.metric, one.class_name or "", one.verdict)
        assert row["difference"] == ("" if one.value is None else repr(one.value))
    found = next(one for one in made.rivals[0].differences if one.key == ("marks_found", None))
    assert found.verdict == "better"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.json", "comparison.csv", "comparison.png", "comparison.html",
    }  # fmt: skip
