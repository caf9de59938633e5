"""Rare classes that count as much as common ones, by weights or by being shown more often."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from overread.data.balance import class_weights, shares_of, weights_of
from overread.data.manifest import Case, ImageRef, Manifest
from overread.finding import Finding, Region

CLASSES = ("cyst", "stone", "tumour")
FEW = settings(max_examples=50, deadline=None)
labels_drawn = st.lists(st.integers(0, 2), min_size=1, max_size=40)
sets_drawn = st.lists(st.sets(st.sampled_from(CLASSES)), min_size=1, max_size=40)


def manifest_of(shown: list[set[str]], task: str) -> Manifest:
    marked = task == "boxes"
    cases = []
    for number, names in enumerate(shown):
        labels = {} if marked else {name: name in names for name in CLASSES}
        marks = tuple(Finding(name, Region((1, 1, 5, 5))) for name in sorted(names)) if marked else None
        cases.append(Case(f"c{number}", f"p{number}", (ImageRef(Path("x")),), labels, marks))
    return Manifest("made", "test", task, CLASSES, tuple(cases))


@FEW
@given(labels_drawn)
def test_classes_weigh_as_scikit_learn_balances_them(labels: list[int]) -> None:
    present = sorted(set(labels))
    expected = compute_class_weight("balanced", classes=np.array(present), y=labels)
    assert class_weights(torch.tensor(labels), 3)[present].numpy() == pytest.approx(expected, rel=1e-5)


@FEW
@given(labels_drawn)
def test_all_classes_together_count_alike_and_a_case_counts_one_on_average(labels: list[int]) -> None:
    targets = torch.tensor(labels)
    weights = weights_of(targets, class_weights(targets, 3))
    sums = [float(weights[targets == one].sum()) for one in set(labels)]
    assert sums == pytest.approx([sums[0]] * len(sums), rel=1e-4)
    assert float(weights.mean()) == pytest.approx(1, rel=1e-4)


def test_of_several_labels_those_that_are_present_weigh_as_much_as_those_that_are_absent_up_to_twenty_fold() -> None:
    nan = float("nan")
    often, rarely = torch.ones(100), torch.zeros(100)
    often[0], rarely[0] = 0, 1
    half = torch.tensor([1.0, 0, 0, 0] * 20 + [nan] * 20)
    never, always = torch.zeros(100), torch.ones(100)
    targets = torch.stack([half, rarely, often, never, always], 1)
    of_class = class_weights(targets, 5)
    assert of_class.tolist() == pytest.approx([3, 20, 1 / 20, 20, 1 / 20])
    weights = weights_of(targets, of_class)
    assert weights.shape == targets.shape
    assert float(weights[half == 1, 0].sum()) == pytest.approx(float(weights[half == 0, 0].sum()))
    assert (weights[targets != 1] == 1).all()


@FEW
@given(labels_drawn)
def test_each_class_is_drawn_equally_often_and_cases_of_a_class_alike(labels: list[int]) -> None:
    shares = shares_of((m := manifest_of([{CLASSES[one]} for one in labels], "single-label")).cases, m)
    for one in set(labels):
        own = shares[np.array(labels) == one]
        assert own.sum() == pytest.approx(1 / len(set(labels)))
        assert own == pytest.approx(own[0])


@pytest.mark.parametrize("task", ["multi-label", "boxes"])
@FEW
@given(shown=sets_drawn)
def test_a_case_with_several_counts_for_its_rarest_class_and_cases_without_any_are_a_class(task: str, shown) -> None:
    manifest = manifest_of(shown, task)
    shares = shares_of(manifest.cases, manifest)
    often = {name: sum(name in names for names in shown) for name in CLASSES}
    rarest = [min(sorted(names), key=often.__getitem__, default="none") for names in shown]
    assert shares.sum() == pytest.approx(1)
    for group in set(rarest):
        assert shares[[one == group for one in rarest]].sum() == pytest.approx(1 / len(set(rarest)))


def test_two_lesions_of_a_class_on_one_image_make_it_no_more_common() -> None:
    manifest = manifest_of([{"cyst"}, {"stone"}, {"cyst", "stone"}, {"cyst"}], "boxes")
    first = manifest.cases[1]
    doubled = Case(first.case_id, first.patient_id, first.images, {}, first.truth_marks * 5)
    changed = (manifest.cases[0], doubled, *manifest.cases[2:])
    assert shares_of(changed, manifest).tolist() == shares_of(manifest.cases, manifest).tolist()
