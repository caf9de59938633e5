"""Who chooses the operating point, and who is measured at it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.section import DataSection
from overread.errors import InputError, RecipeError
from overread.finding import Finding, Prediction, Region
from overread.models.contract import Shape
from overread.models.section import ModelSection
from overread.pipeline import presenting
from overread.pipeline.assembly import check_axes, device_for
from overread.pipeline.cross_validation import _Results
from overread.pipeline.parting import scheme_of
from overread.recipe import Recipe

STONE = Region((5, 5, 15, 15))
ELSEWHERE = Region((30, 30, 40, 40))
FOLDS = (Fold(0, ("c",), ("d",), ("a", "b")), Fold(1, ("a",), ("b",), ("c", "d")))


def marked(folder: Path = Path()) -> Manifest:
    cases = [Case(key, f"p-{key}", (ImageRef(folder / key),), marks=(Finding("stone", STONE),)) for key in "abcd"]
    return Manifest("set", "test", "boxes", ("stone",), tuple(cases))


def said(key: str, *, right: float, wrong: float) -> Prediction:
    return Prediction(key, (Finding("stone", STONE, score=right), Finding("stone", ELSEWHERE, score=wrong)))


def results(folder: Path = Path()) -> _Results:
    """Two folds whose networks are sure to different degrees."""
    found = _Results(marked(folder), FOLDS)
    for fold, right in zip(FOLDS, (0.9, 0.4), strict=True):
        fitted: Any = SimpleNamespace(fold=fold)
        validated = [said(key, right=right, wrong=right - 0.2) for key in fold.validation]
        found.add(fitted, validated)
        found.tested += [said(key, right=right - 0.1, wrong=0.05) for key in fold.test]
    return found


def test_the_validation_part_of_a_fold_chooses_where_that_fold_is_measured() -> None:
    found = results()
    assert found.thresholds == {0: 0.9, 1: 0.4}
    assessment = found.assessment()
    assert {key: assessment.threshold_of(key) for key in "abcd"} == {"a": 0.9, "b": 0.9, "c": 0.4, "d": 0.4}


def test_the_networks_of_all_repeats_that_test_a_case_answer_together() -> None:
    folds = [*FOLDS, Fold(2, ("d",), ("c",), ("a", "b")), Fold(3, ("b",), ("a",), ("c", "d"))]
    mixed = [*FOLDS, Fold(2, ("d",), ("b",), ("a", "c")), Fold(3, ("c",), ("a",), ("b", "d"))]
    assert _Results(marked(), folds).tested_by() == {(0, 2): ["a", "b"], (1, 3): ["c", "d"]}
    found = _Results(marked(), mixed)
    assert found.tested_by() == {(0, 2): ["a"], (0, 3): ["b"], (1, 2): ["c"], (1, 3): ["d"]}
    assert found.tested_in == {}
    for fold, sure in zip(mixed, (0.9, 0.7, 0.5, 0.1), strict=True):
        fitted: Any = SimpleNamespace(fold=fold)
        found.add(fitted, [said(key, right=sure, wrong=sure - 0.05) for key in fold.validation])
    found.tested = [said(key, right=0.8, wrong=0.05) for key in "abcd"]
    assessment = found.assessment()
    assert len(assessment.manifest.cases) == 4
    assert {key: round(assessment.threshold_of(key), 3) for key in "abcd"} == {"a": 0.7, "b": 0.5, "c": 0.6, "d": 0.4}


def test_what_is_tested_has_no_say_in_the_operating_point() -> None:
    found = results()
    whole, own = found.threshold, dict(found.thresholds)
    found.tested = [said(key, right=0.01, wrong=0.99) for key in "abcd"]
    assert (found.threshold, found.thresholds) == (whole, own)


def test_the_evaluation_names_the_operating_point_of_every_fold(tmp_path: Path) -> None:
    for key in "abcd":
        (tmp_path / key).write_text(key)
    found = results(tmp_path)
    told = presenting.evaluation_json(
        found.assessment(), [], split=None, scheme="", threshold=0.5, warnings=[], refused=[], bundle_id=None, model={},
        thresholds_of_folds=found.thresholds,
    )  # fmt: skip
    assert told["threshold_of_each_fold"] == [0.9, 0.4]


def test_folds_are_not_sold_as_the_bundle_that_averages_them() -> None:
    folded = scheme_of(DataSection(), FOLDS, marked())
    assert "2 networks" in folded
    assert "not measured" in folded
    assert "not measured" not in scheme_of(DataSection(scheme="hold-out"), FOLDS[:1], marked())
    alone = scheme_of(DataSection(), FOLDS, marked(), averaged=False)
    assert alone.endswith("Of these 2 networks the bundle asks that of the first fold alone.")


def test_repeats_are_said_to_be_averaged_and_sites_to_be_left_out() -> None:
    manifest = marked()
    repeated = scheme_of(DataSection(scheme="repeated-k-fold", folds=2, repeats=3), [*FOLDS] * 3, manifest)
    assert "2 folds of whole patients, 3 times with other folds" in repeated
    assert "averaged before anything was measured, so that every case counts once" in repeated
    at = manifest.with_cases(
        tuple(replace(case, site="ab"[n > 1]) for n, case in enumerate(manifest.cases)),
    )
    folds = (FOLDS[0], replace(FOLDS[1], left_out=("a",)))
    sites = scheme_of(DataSection(scheme="leave-one-site-out"), folds, at)
    assert "Each of 2 sites was judged by a model that learned from the others only" in sites
    assert "a (2 cases), b (2 cases)" in sites
    assert "Left out of the training" in sites
    assert "1 of fold 1" in sites


def test_what_was_held_out_is_counted_and_not_taken_from_the_recipe() -> None:
    said = scheme_of(DataSection(scheme="hold-out", held_out=0.3), FOLDS[:1], marked())
    assert said.startswith(f"{len(FOLDS[0].test)} of {len(marked().cases)} cases were held out")


@pytest.mark.parametrize("scheme", ["k-fold", "hold-out"])
def test_nothing_is_said_of_patients_where_none_is_named(scheme: Any) -> None:
    manifest = marked()
    nameless = manifest.with_cases(tuple(replace(case, patient_id=case.case_id) for case in manifest.cases))
    assert manifest.names_patients
    assert not nameless.names_patients
    named, unnamed = (scheme_of(DataSection(scheme=scheme), FOLDS, one) for one in (manifest, nameless))
    assert "whole patients" in named
    assert "patient" not in unnamed.replace("names no patients", "")


def test_a_family_of_flat_images_refuses_volumes_and_names_one_that_takes_them() -> None:
    shape = Shape("single-label", ("a", "b"), 1, 3)
    with pytest.raises(RecipeError, match=r"'mask-rcnn' takes flat images; this data set holds volumes"):
        check_axes(Recipe(name="x", model=ModelSection(family="mask-rcnn")), shape)


def test_the_graphics_card_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="cuda was asked for"):
        device_for("cuda")
    assert device_for("auto") == device_for("cpu") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_for("auto") == device_for("cuda") == "cuda"
    assert device_for("cpu") == "cpu"
