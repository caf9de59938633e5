"""How a data set is parted."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overread.data.fold import Fold
from overread.data.groups import MOST_NEAR, groups_of, near_ties, tied_patients
from overread.data.leaks import across_folds
from overread.data.manifest import Case, Manifest
from overread.data.section import DataSection
from overread.data.split import folds_of, inner_folds_of
from overread.errors import DataLeak, ManifestError
from overread.finding import Finding, Region

FEW = settings(max_examples=40, deadline=None)
CLASSES = ("benign", "malignant", "normal")


def _case(number: int, *, patient: str | None = None, split=None, labels=None, marks=None, site=None) -> Case:
    case_id = f"case-{number:04d}"
    return Case(case_id, patient or case_id, (), labels or {}, marks, split, site)


def _one_of(name: str, classes: tuple[str, ...] = CLASSES) -> dict[str, bool | None]:
    return {other: other == name for other in classes}


def _manifest(cases, *, task="single-label", classes=CLASSES) -> Manifest:
    return Manifest("example", "test", task, classes, tuple(cases))


def _labelled(counts: dict[str, int], *, split=None) -> list[Case]:
    names = [name for name, count in counts.items() for _ in range(count)]
    classes = tuple(counts)
    return [_case(number, labels=_one_of(name, classes), split=split) for number, name in enumerate(names)]


@st.composite
def _manifests(
    draw: st.DrawFn, tasks: tuple[str, ...] = ("single-label", "multi-label", "boxes")
) -> tuple[Manifest, dict[str, str]]:
    """Data sets of all tasks with patients of several images, identical images, sites, and official test cases.

    Some patients, and some images, are at two sites.
    """
    task = draw(st.sampled_from(tasks))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, leaky = draw(st.integers(20, 90)), draw(st.booleans())
    cases = []
    for number in range(n):
        labels, marks = {}, None
        if task == "single-label":
            labels = _one_of(str(rng.choice(CLASSES, p=[0.5, 0.2, 0.3])))
        elif task == "multi-label":
            labels = {name: bool(rng.random() < 0.3) if rng.random() < 0.9 else None for name in CLASSES}
        else:
            marks = tuple(
                Finding(str(name), Region((0, 0, 1, 1)))
                for name, times in zip(CLASSES, rng.poisson((2, 0.5, 0.3)), strict=True)
                for _ in range(times)
            )
        patient = f"p{int(rng.integers(n * 3 // 4))}"
        split = "test" if rng.random() < 0.1 else "val" if int(patient[1:]) % 4 == 0 else "train"
        if number < 3 and leaky:
            split = draw(st.sampled_from([None, "train"]))
        site = "abc"[int(rng.integers(3)) if rng.random() < 0.1 else int(patient[1:]) % 3]
        cases.append(_case(number, patient=patient, split=split, labels=labels, marks=marks, site=site))
    same = {case.case_id: f"image-{rng.integers(n * 5)}" for case in cases if rng.random() < 0.8}
    if not leaky:  # splits that do not leak, as "official" wants them
        own = {case.patient_id: case.split for case in cases}
        cases = [replace(case, split=own[case.patient_id]) for case in cases]
        same = {case.case_id: f"{case.split}-{same[case.case_id]}" for case in cases if case.case_id in same}
    return _manifest(cases, task=task), same


def _parted(manifest: Manifest, section: DataSection, *, seed: int = 0, same=None, near=()) -> list[Fold]:
    try:
        return folds_of(manifest, section, seed=seed, same=same, near=near)
    except ManifestError:
        assume(False)
        raise


def _apart_from_test(manifest: Manifest, same: dict[str, str]) -> set[str]:
    """The cases that no chain of patients and identical images ties to the official test split."""
    touched = {case.case_id for case in manifest.cases if case.split == "test"}
    before = 0
    while before != len(touched):
        before = len(touched)
        patients = {case.patient_id for case in manifest.cases if case.case_id in touched}
        images = {same[key] for key in touched if key in same}
        touched |= {case.case_id for case in manifest.cases if case.patient_id in patients}
        touched |= {key for key, image in same.items() if image in images}
    return {case.case_id for case in manifest.cases} - touched


SECTIONS = st.sampled_from(
    [
        DataSection(folds=3),
        DataSection(folds=3, validation=0),
        DataSection(scheme="repeated-k-fold", folds=3, repeats=2),
        DataSection(scheme="leave-one-site-out"),
        DataSection(scheme="leave-one-site-out", validation=0),
        DataSection(scheme="hold-out", held_out=0.3, validation=0.2),
        DataSection(scheme="official"),
    ]
)


@FEW
@given(_manifests(), SECTIONS)
def test_a_patient_is_never_in_two_parts_of_a_fold(drawn, section):
    manifest, same = drawn
    patient = {case.case_id: case.patient_id for case in manifest.cases}
    for fold in _parted(manifest, section, same=same):
        fit, validation, test = ({patient[key] for key in part} for part in (fold.fit, fold.validation, fold.test))
        assert not fit & test
        assert not fit & validation
        assert not validation & test


@FEW
@given(_manifests(), SECTIONS)
def test_identical_images_are_never_in_two_parts_of_a_fold(drawn, section):
    manifest, same = drawn
    for fold in _parted(manifest, section, same=same):
        parts = [{same[key] for key in part if key in same} for part in (fold.fit, fold.validation, fold.test)]
        assert len(set.union(*parts)) == sum(map(len, parts))


@FEW
@given(
    _manifests(),
    st.integers(2, 5),
    st.sampled_from([("k-fold", 1), ("repeated-k-fold", 2), ("repeated-k-fold", 5), ("leave-one-site-out", 1)]),
)
def test_every_trainable_case_is_tested_once_and_in_repeated_k_fold_once_a_repeat(drawn, folds, scheme):
    (manifest, same), (name, times) = drawn, scheme
    found = _parted(manifest, DataSection(scheme=name, folds=folds, repeats=max(times, 2)), same=same)
    trainable = _apart_from_test(manifest, same)
    sites = {case.site for case in manifest.cases if case.case_id in trainable}
    assert [fold.index for fold in found] == list(range(len(sites) if name == "leave-one-site-out" else folds * times))
    assert Counter(key for fold in found for key in fold.test) == dict.fromkeys(trainable, times)
    for fold in found:
        parts = [*fold.fit, *fold.validation, *fold.test, *fold.left_out]
        assert sorted(parts) == sorted(case.case_id for case in manifest.cases if case.split != "test")
        assert not set(fold.left_out) & trainable or name == "leave-one-site-out"


@FEW
@given(_manifests())
def test_each_repeat_is_a_k_fold_of_its_own(drawn):
    manifest, same = drawn
    found = _parted(manifest, DataSection(scheme="repeated-k-fold", folds=2, repeats=3, validation=0), same=same)
    repeats = [found[:2], found[2:4], found[4:]]
    for first, second in repeats:
        assert not set(first.test) & set(second.test)
    assert [first.test for first, _ in repeats] == [second.fit for _, second in repeats]


def test_repeats_part_a_data_set_in_different_ways():
    manifest = _manifest(_labelled({"benign": 40, "malignant": 20}), classes=("benign", "malignant"))
    found = folds_of(manifest, DataSection(scheme="repeated-k-fold", folds=2, repeats=5), seed=0)
    assert len({fold.test for fold in found}) == 10


@FEW
@given(_manifests())
def test_each_site_is_tested_by_models_that_learned_from_the_others_and_from_nobody_who_was_there(drawn):
    manifest, same = drawn
    by_id = {case.case_id: case for case in manifest.cases}
    found = _parted(manifest, DataSection(scheme="leave-one-site-out"), same=same)
    trainable = _apart_from_test(manifest, same)
    for site, fold in zip(sorted({str(by_id[key].site) for key in trainable}), found, strict=True):
        assert fold.test == tuple(sorted(key for key in trainable if by_id[key].site == site))
        assert site not in {by_id[key].site for key in (*fold.fit, *fold.validation)}


@FEW
@given(_manifests(), SECTIONS)
def test_neither_the_official_test_split_nor_what_is_tied_to_it_is_used(drawn, section):
    manifest, same = drawn
    official = {case.case_id for case in manifest.cases if case.split == "test"}
    apart = _apart_from_test(manifest, same)
    for fold in _parted(manifest, section, same=same):
        assert not official & {*fold.fit, *fold.validation, *fold.test, *fold.left_out}
        assert {*fold.fit, *fold.validation, *fold.test} <= apart


@FEW
@given(_manifests(), SECTIONS, st.integers(0, 2**31 - 1), st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_folds_whatever_the_order_of_the_cases(drawn, section, seed, random):
    manifest, same = drawn
    shuffled = list(manifest.cases)
    random.shuffle(shuffled)
    expected = _parted(manifest, section, seed=seed, same=same)
    assert folds_of(manifest.with_cases(tuple(shuffled)), section, seed=seed, same=same) == expected


def test_another_seed_gives_other_folds():
    manifest = _manifest(_labelled({"benign": 40, "malignant": 20}), classes=("benign", "malignant"))
    assert folds_of(manifest, DataSection(), seed=1) != folds_of(manifest, DataSection(), seed=2)


def _near_pairs(manifest: Manifest, random, count: int) -> list[tuple[str, str]]:
    keys = [case.case_id for case in manifest.cases]
    return [(one, other) for one, other in (random.sample(keys, 2) for _ in range(count))]


@FEW
@given(_manifests(), SECTIONS, st.integers(0, 6), st.randoms(use_true_random=False))
def test_near_copies_that_are_tied_are_never_in_two_parts_of_a_fold_whatever_chain_ties_them(drawn, section, n, random):
    manifest, same = drawn
    near = _near_pairs(manifest, random, n)
    if section.scheme == "official":
        assert _parted(manifest, section, same=same, near=near) == _parted(manifest, section, same=same)
        return
    found = _parted(manifest, section, same=same, near=near)
    assert across_folds(found, near) == []
    for fold in found:
        for one, other in near:
            assert ({one, other} & {*fold.fit} == set()) or ({one, other} & {*fold.validation} == set())


@FEW
@given(_manifests(), st.integers(0, 25), st.randoms(use_true_random=False))
def test_near_copies_never_make_a_large_group_of_three_or_more_and_small_ones_stay_tied(drawn, n, random):
    manifest, same = drawn
    near = _near_pairs(manifest, random, n)
    ties = near_ties(manifest.cases, same, near)
    before = {frozenset(case.case_id for case in group) for group in groups_of(manifest, manifest.cases, same).cases}

    def groups_with(pairs) -> list[frozenset[str]]:
        groups = groups_of(manifest, manifest.cases, same, pairs).cases
        return [frozenset(case.case_id for case in group) for group in groups]

    def too_large(group: frozenset[str]) -> bool:
        return len(group) > MOST_NEAR * len(manifest.cases) and sum(one <= group for one in before) > 2

    assert not any(map(too_large, groups_with(ties)))
    whole = groups_with(near)
    assert [pair for pair in near if pair not in ties] == [
        pair for pair in near if any(too_large(group) and pair[0] in group for group in whole)
    ]


@FEW
@given(_manifests(), st.integers(0, 6), st.randoms(use_true_random=False))
def test_patients_count_as_one_where_they_are_in_one_group_and_only_there(drawn, n, random):
    manifest, same = drawn
    near = _near_pairs(manifest, random, n)
    found = tied_patients(manifest.cases, same, near)
    groups = groups_of(manifest, manifest.cases, same, near).cases
    for group in groups:
        (patient,) = {found[case.case_id] for case in group}
        assert patient in {case.patient_id for case in group}
    assert len({*found.values()}) == len(groups)
    shuffled = list(manifest.cases)
    random.shuffle(shuffled)
    assert tied_patients(shuffled, same, near) == found


@FEW
@given(_manifests(), st.integers(2, 4), st.integers(0, 3), st.randoms(use_true_random=False))
def test_inner_parts_partition_the_training_part_and_hold_nobody_of_the_test_part(drawn, inner_folds, n, random):
    manifest, same = drawn
    near = _near_pairs(manifest, random, n)
    section = DataSection(scheme="nested-k-fold", folds=3, inner_folds=inner_folds, validation=0.2)
    outer = _parted(manifest, section, same=same, near=near)
    assert outer == _parted(manifest, DataSection(folds=3, validation=0.2), same=same, near=near)
    patient = {case.case_id: case.patient_id for case in manifest.cases}
    shared = [lambda key: patient[key], lambda key: same.get(key, key)]
    for fold in outer:
        try:
            found = inner_folds_of(manifest, fold, section, seed=0, same=same, near=near)
        except ManifestError as error:
            assert f"The training part of fold {fold.index}" in str(error)  # noqa: PT017
            continue
        training = {*fold.fit, *fold.validation}
        assert sorted(key for one in found for key in one.test) == sorted(training)
        for one in found:
            assert {*one.fit, *one.validation, *one.test} == training
            assert not one.left_out
        assert across_folds(found, near) == []
        for what in shared:
            tested = {what(key) for key in fold.test}
            for one in found:
                fit, validation, test = ({what(key) for key in part} for part in (one.fit, one.validation, one.test))
                assert not tested & (fit | validation | test)
                assert not fit & validation
                assert not test & (fit | validation)


def test_inner_parts_of_two_folds_are_dealt_on_their_own_and_the_same_whenever_they_are_asked_for():
    manifest = _manifest(_labelled({"benign": 60, "malignant": 30}), classes=("benign", "malignant"))
    section = DataSection(scheme="nested-k-fold", folds=3)
    for fold in folds_of(manifest, section, seed=0):
        first, again = (inner_folds_of(manifest, fold, section, seed=0) for _ in range(2))
        assert first == again
        assert first != inner_folds_of(manifest, fold, section, seed=1)
        by_id = {case.case_id: case.label for case in manifest.cases}
        counts = [Counter(by_id[key] for key in one.test) for one in first]
        assert all(abs(count["malignant"] - 20 / 3) < 1 for count in counts)


@FEW
@given(
    st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 9)), min_size=12, max_size=60),
    st.integers(2, 5),
    st.floats(0.1, 0.6),
)
def test_class_shares_differ_by_no_more_than_the_largest_patient_forces(patients, folds, held_out):
    names = [(name, f"p{number}") for number, (name, size) in enumerate(patients) for _ in range(size)]
    manifest = _manifest([_case(n, patient=key, labels=_one_of(name)) for n, (name, key) in enumerate(names)])
    for section in (
        DataSection(folds=folds, validation=0),
        DataSection(scheme="repeated-k-fold", folds=folds, repeats=2, validation=0),
        DataSection(scheme="hold-out", held_out=held_out, validation=0),
    ):
        by_id = {case.case_id: case for case in manifest.cases}
        for fold in _parted(manifest, section):
            share, parts = (held_out, 2) if section.scheme == "hold-out" else (1 / folds, folds)
            tested = Counter(by_id[key].label for key in fold.test)
            fitted = Counter(by_id[key].label for key in fold.fit)
            for name in CLASSES:
                sizes = [size for label, size in patients if label == name]
                slack = (1 - 1 / parts) * max(sizes, default=0) + 1e-9
                assert tested[name] <= share * sum(sizes) + slack
                if section.scheme == "hold-out":
                    assert fitted[name] <= (1 - share) * sum(sizes) + slack
                else:  # equal shares: no two folds are further apart than the largest patient
                    assert tested[name] >= share * sum(sizes) - slack


@FEW
@given(_manifests(), st.integers(2, 5))
def test_squared_errors_of_the_shares_stay_within_the_stated_bound(drawn, folds):
    manifest, _ = drawn
    found = _parted(manifest, DataSection(folds=folds, validation=0))
    tested = {key for fold in found for key in fold.test}
    shown: dict[str, np.ndarray] = {}
    for case in manifest.cases:
        if case.case_id in tested:
            present = [mark.label for mark in case.marks or ()] or [name for name, yes in case.labels.items() if yes]
            rest = [not present, 1] if manifest.task != "single-label" else [not present]
            absent = [case.labels.get(name) is False for name in CLASSES] if manifest.task == "multi-label" else []
            shown[case.case_id] = np.array([*(present.count(name) for name in CLASSES), *absent, *rest])
    patients: dict[str, np.ndarray] = {}
    for case in manifest.cases:
        if case.case_id in tested:
            patients[case.patient_id] = patients.get(case.patient_id, 0) + shown[case.case_id]
    total = sum(shown.values())
    seen = total > 0
    shares = np.array([sum(shown[key] for key in fold.test) for fold in found])[:, seen] / total[seen]
    largest = np.max(list(patients.values()), axis=0)
    bound = (1 - 1 / folds) * (largest[seen] / total[seen]).sum()
    assert ((shares - 1 / folds) ** 2).sum() <= bound + 1e-9


def _known(answers: dict[int, dict[str, bool | None]], count: int, **facts) -> list[Case]:
    """Cases with a finding or without, every second one; and of "cyst" what `answers` says, or nothing."""
    return [_case(n, labels={"stone": n % 2 == 0, "cyst": None} | answers.get(n, {}), **facts) for n in range(count)]


TWO = ("stone", "cyst")


@FEW
@given(st.integers(2, 5), st.integers(0, 4), st.data())
def test_of_several_labels_each_known_yes_and_no_is_spread_over_the_folds(folds, more, data):
    n = folds + more
    places = data.draw(st.permutations(range(60)))
    answers = {place: {"cyst": number < n} for number, place in enumerate(places[: 2 * n])}
    manifest = _manifest(_known(answers, 60), task="multi-label", classes=TWO)
    found = folds_of(manifest, DataSection(folds=folds, validation=0), seed=0)
    for said in (True, False):
        counts = [sum(answers.get(int(key[-4:]), {}).get("cyst") is said for key in fold.test) for fold in found]
        assert {n // folds, -(-n // folds)} >= set(counts)


def test_a_label_whose_known_no_is_of_fewer_patients_than_folds_is_refused_by_name():
    answers = {n: {"cyst": n > 3} for n in range(24)}
    manifest = _manifest(_known(answers, 60), task="multi-label", classes=TWO)
    with pytest.raises(ManifestError, match=r"at least 5 patients .* 'not cyst' \(4\)"):
        folds_of(manifest, DataSection(validation=0), seed=0)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (DataSection(folds=2, validation=0.8), "would never see 'not cyst'"),
        (DataSection(folds=2, validation=0.1), "would not show 'not cyst'"),
        (DataSection(scheme="hold-out", held_out=0.2, validation=0), "No test case would show 'not cyst'"),
    ],
)
def test_a_known_no_that_a_part_lacks_is_refused_by_name(section, said):
    answers = {n: {"cyst": n > 1} for n in range(30)}
    manifest = _manifest(_known(answers, 60), task="multi-label", classes=TWO)
    with pytest.raises(ManifestError, match=said):
        folds_of(manifest, section, seed=0)


def test_a_label_that_no_case_lacks_does_not_stop_the_others():
    answers = {n: {"cyst": True} for n in range(30)}
    manifest = _manifest(_known(answers, 60), task="multi-label", classes=TWO)
    assert len(folds_of(manifest, DataSection(), seed=0)) == 5


def test_a_class_that_only_patients_of_the_official_test_split_show_is_refused():
    cases = _labelled({"benign": 40, "malignant": 6}) + [
        replace(case, case_id=f"test-{n}", split="test")
        for n, case in enumerate(_labelled({"benign": 2, "malignant": 6})[2:])
    ]
    manifest = _manifest(cases, classes=("benign", "malignant"))
    assert len(folds_of(manifest, DataSection(validation=0), seed=0)) == 5
    shared = {case.case_id: f"p{n}" for group in (cases[40:46], cases[46:]) for n, case in enumerate(group)}
    tied = [replace(case, patient_id=shared.get(case.case_id, case.patient_id)) for case in cases]
    with pytest.raises(ManifestError, match=r"Nothing is left to learn 'malignant' from: .* split 'test'"):
        folds_of(manifest.with_cases(tuple(tied)), DataSection(validation=0), seed=0)


def test_folds_of_single_images_hold_each_class_and_the_cases_evenly():
    manifest = _manifest(_labelled({"benign": 52, "malignant": 23, "normal": 11}))
    by_id = {case.case_id: case for case in manifest.cases}
    counts = [Counter(by_id[key].label for key in fold.test) for fold in folds_of(manifest, DataSection(), seed=3)]
    for name, n in (("benign", 52), ("malignant", 23), ("normal", 11)):
        assert {count[name] for count in counts} <= {n // 5, n // 5 + 1}
    assert {count.total() for count in counts} == {17, 18}


def test_the_validation_part_is_stratified_and_taken_from_the_training_part():
    manifest = _manifest(_labelled({"benign": 200, "malignant": 50}), classes=("benign", "malignant"))
    by_id = {case.case_id: case for case in manifest.cases}
    for fold in folds_of(manifest, DataSection(validation=0.2), seed=0):
        assert Counter(by_id[key].label for key in fold.validation) == {"benign": 32, "malignant": 8}
        assert len(fold.fit) == 160


@FEW
@given(_manifests(("single-label",)), SECTIONS)
def test_the_validation_part_of_every_scheme_gets_no_more_of_a_class_than_the_largest_group_forces(drawn, section):
    manifest, _ = drawn
    one_class = {case.patient_id: case.label for case in manifest.cases}
    manifest = manifest.with_cases(
        tuple(replace(case, labels=_one_of(one_class[case.patient_id])) for case in manifest.cases)
    )
    by_id = {case.case_id: case for case in manifest.cases}
    for fold in _parted(manifest, section):
        learned = Counter(by_id[key].label for key in (*fold.fit, *fold.validation))
        patients = Counter((by_id[key].label, by_id[key].patient_id) for key in (*fold.fit, *fold.validation))
        for name, n in Counter(by_id[key].label for key in fold.validation).items():
            largest = max(count for (label, _), count in patients.items() if label == name)
            assert n <= section.validation * learned[name] + largest / 2 + 1e-9


def test_validation_parts_of_two_folds_are_drawn_on_their_own():
    manifest = _manifest(_labelled({"benign": 200}), classes=("benign",))
    first, second, *_ = folds_of(manifest, DataSection(), seed=0)
    assert set(first.validation) != set(second.validation)


def test_marks_are_stratified_by_how_many_there_are_of_each_class():
    rng = np.random.default_rng(5)
    cases = []
    for number in range(150):
        cells = ["red"] * int(rng.poisson(8)) + ["white"] * int(rng.random() < 0.2)
        marks = tuple(Finding(cell, Region((0, 0, 1, 1))) for cell in cells)
        cases.append(_case(number, marks=None if number < 10 else () if number < 40 else marks))
    manifest = _manifest(cases, task="boxes", classes=("red", "white"))
    by_id = {case.case_id: case for case in cases}
    counts = [
        Counter(mark.label for key in fold.test for mark in by_id[key].marks or ())
        for fold in folds_of(manifest, DataSection(), seed=0)
    ]
    empty = [sum(not by_id[key].marks for key in fold.test) for fold in folds_of(manifest, DataSection(), seed=0)]
    assert max(c["red"] for c in counts) - min(c["red"] for c in counts) <= 0.05 * sum(c["red"] for c in counts)
    assert max(c["white"] for c in counts) - min(c["white"] for c in counts) <= 1
    assert set(empty) == {8}


def _official(train: int = 40, val: int = 10, test: int = 10) -> list[Case]:
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [_case(n, split=split, labels=_one_of(CLASSES[n % 3])) for n, split in enumerate(splits)]


def test_official_tests_on_val_and_takes_validation_from_train():
    cases = _official()
    (fold,) = folds_of(_manifest(cases), DataSection(scheme="official", validation=0.25), seed=0)
    assert fold.test == tuple(case.case_id for case in cases if case.split == "val")
    assert set(fold.fit) | set(fold.validation) == {case.case_id for case in cases if case.split == "train"}
    assert len(fold.validation) == 10
    assert not fold.left_out


def _leaky() -> tuple[Manifest, dict[str, str]]:
    """A patient, and an image, in both "train" and "val"."""
    cases = _official()
    cases[0], cases[41] = replace(cases[0], patient_id="Doe^Jane"), replace(cases[41], patient_id="Doe^Jane")
    return _manifest(cases), {cases[5].case_id: "equal", cases[45].case_id: "equal"}


def test_official_splits_that_leak_are_refused_with_what_to_do_and_no_name():
    manifest, same = _leaky()
    with pytest.raises(
        DataLeak, match=r"(?s)patient who is in two official splits.*case-0000.*k-fold.*--accept-leaks"
    ) as one:
        folds_of(manifest, DataSection(scheme="official"), seed=0)
    assert "Doe" not in str(one.value)
    with pytest.raises(DataLeak, match=r"(?s)across official splits.*case-0005.*case-0045"):
        folds_of(_manifest(_official()), DataSection(scheme="official"), seed=0, same=same)


def test_official_splits_that_leak_are_taken_as_they_are_where_that_is_accepted():
    manifest, same = _leaky()
    (fold,) = folds_of(manifest, DataSection(scheme="official"), seed=0, same=same, accept_leaks=True)
    own = {split: {case.case_id for case in manifest.cases if case.split == split} for split in ("train", "val")}
    assert set(fold.test) == own["val"]
    assert {*fold.fit, *fold.validation} == own["train"]
    assert not fold.left_out


@pytest.mark.parametrize("scheme", ["k-fold", "hold-out"])
def test_a_patient_in_train_and_val_is_no_leak_where_both_are_dealt_out_anew(scheme):
    manifest, same = _leaky()
    for fold in folds_of(manifest, DataSection(scheme=scheme, folds=3), seed=0, same=same):
        assert not fold.left_out
        for twins in ({"case-0000", "case-0041"}, {"case-0005", "case-0045"}):
            assert sum(bool(twins & set(part)) for part in (fold.fit, fold.validation, fold.test)) == 1


@pytest.mark.parametrize(("train", "val"), [(0, 10), (40, 0)])
def test_official_is_refused_without_both_splits(train, val):
    with pytest.raises(ManifestError, match="Use scheme = 'k-fold'"):
        folds_of(_manifest(_official(train, val)), DataSection(scheme="official"), seed=0)


def test_official_is_refused_where_some_cases_have_no_split():
    cases = [*_official(), _case(99, labels=_one_of("normal"))]
    with pytest.raises(ManifestError, match="1 cases of 'example' have none"):
        folds_of(_manifest(cases), DataSection(scheme="official"), seed=0)


def _at_sites(sites: str, names: str) -> Manifest:
    """A letter a case: its site, and the first letter of its class."""
    known = {name[0]: name for name in CLASSES}
    pairs = enumerate(zip(sites, names, strict=True))
    return _manifest([_case(n, site=None if s == "-" else s, labels=_one_of(known[c])) for n, (s, c) in pairs])


SITES = DataSection(scheme="leave-one-site-out", validation=0)


def test_a_patient_at_two_sites_is_learned_from_in_neither_of_their_folds():
    manifest = _at_sites("aaabbbccc", "bmnbmnbmn")
    moved = [replace(case, patient_id="p") if n in (0, 3) else case for n, case in enumerate(manifest.cases)]
    first, second, third = folds_of(manifest.with_cases(tuple(moved)), SITES, seed=0)
    assert (first.left_out, second.left_out, third.left_out) == (("case-0003",), ("case-0000",), ())
    assert {"case-0000", "case-0003"} <= set(third.fit)


def test_one_site_is_refused_and_so_is_a_case_without_one():
    with pytest.raises(ManifestError, match=r"1 of 6 cases .* have none, such as 'case-0002'\. Name their site"):
        folds_of(_at_sites("ab-abb", "bmnbmn"), SITES, seed=0)
    with pytest.raises(ManifestError, match=r"at least 2 sites; .* of the site 'a'\. Add cases of another site"):
        folds_of(_at_sites("aaaaaa", "bmnbmn"), SITES, seed=0)


def test_a_class_of_one_site_only_is_refused_for_the_others_could_not_teach_it():
    with pytest.raises(ManifestError, match=r"fold 1 \(test: site 'b'\) would never see 'malignant'"):
        folds_of(_at_sites("aaaabbbb", "bnbnbnmm"), SITES, seed=0)


def test_sites_that_see_the_same_patients_only_are_refused():
    manifest = _at_sites("aabb", "bnbn")
    shared = tuple(replace(case, patient_id=f"p{n % 2}") for n, case in enumerate(manifest.cases))
    with pytest.raises(ManifestError, match="fit part of fold 0 would be empty: all other patients"):
        folds_of(manifest.with_cases(shared), SITES, seed=0)


def test_a_class_that_no_test_case_shows_is_refused():
    manifest = _manifest(_labelled({"benign": 40, "malignant": 2}), classes=("benign", "malignant"))
    with pytest.raises(ManifestError, match=r"No test case would show 'malignant', .* Use scheme = 'k-fold'"):
        folds_of(manifest, DataSection(scheme="hold-out", held_out=0.2, validation=0), seed=0)


def test_a_class_in_fewer_patients_than_folds_is_refused_by_name():
    manifest = _manifest(_labelled({"benign": 30, "malignant": 4, "normal": 9}))
    with pytest.raises(ManifestError, match=r"at least 5 patients .* 'malignant' \(4\)\. Use fewer than 5 folds"):
        folds_of(manifest, DataSection(), seed=0)


def test_a_class_that_no_case_shows_does_not_stop_the_others():
    manifest = _manifest(_labelled({"benign": 30, "malignant": 20}), classes=("benign", "malignant", "never"))
    assert len(folds_of(manifest, DataSection(), seed=0)) == 5


def test_many_images_of_too_few_patients_are_refused():
    cases = [_case(n, patient=f"p{n % 3}", labels=_one_of("benign")) for n in range(60)]
    with pytest.raises(ManifestError, match=r"at least 5 patients .* found 3"):
        folds_of(_manifest(cases), DataSection(), seed=0)


@pytest.mark.parametrize(
    ("section", "part"),
    [
        (DataSection(scheme="hold-out", held_out=0.01), "test"),
        (DataSection(scheme="hold-out", held_out=0.99), "fit"),
        (DataSection(folds=2, validation=0.01), "validation"),
    ],
)
def test_an_empty_part_is_refused(section, part):
    manifest = _manifest(_labelled({"benign": 12}), classes=("benign",))
    with pytest.raises(ManifestError, match=f"The {part} part of fold 0 would be empty"):
        folds_of(manifest, section, seed=0)


def test_a_fold_whose_model_would_never_see_a_class_is_refused():
    manifest = _manifest(_labelled({"benign": 40, "malignant": 2}), classes=("benign", "malignant"))
    with pytest.raises(ManifestError, match="would never see 'malignant'"):
        folds_of(manifest, DataSection(folds=2, validation=0.8), seed=0)


@pytest.mark.parametrize(
    "section", [DataSection(folds=2, validation=0.1), DataSection(scheme="hold-out", validation=0.1)]
)
def test_a_validation_part_that_would_not_show_a_class_is_refused_with_what_to_do(section):
    manifest = _manifest(_labelled({"benign": 60, "malignant": 5}), classes=("benign", "malignant"))
    said = r"validation part of fold 0 would not show 'malignant'.*validation = 0.0 with training.keep = .last"
    with pytest.raises(ManifestError, match=said):
        folds_of(manifest, section, seed=0)
    folds_of(manifest, section.model_copy(update={"validation": 0.0}), seed=0)
    folds_of(manifest, section.model_copy(update={"validation": 0.4}), seed=0)


def test_a_data_set_of_test_cases_only_is_refused():
    with pytest.raises(ManifestError, match="no case to learn from"):
        folds_of(_manifest(_labelled(dict.fromkeys(CLASSES, 5), split="test")), DataSection(), seed=0)


def test_a_label_outside_the_classes_is_refused():
    cases = [*_labelled(dict.fromkeys(CLASSES, 9)), _case(99, labels={"cyst": True})]
    with pytest.raises(ManifestError, match=r"'case-0099' shows 'cyst'"):
        folds_of(_manifest(cases), DataSection(), seed=0)


def test_cases_without_a_known_label_are_spread_like_a_class_of_their_own():
    unknown = [_case(500 + n, labels=dict.fromkeys(CLASSES)) for n in range(10)]
    manifest = _manifest([*_labelled(dict.fromkeys(CLASSES, 20)), *unknown])
    for fold in folds_of(manifest, DataSection(), seed=0):
        assert sum(key >= "case-0500" for key in fold.test) == 2


def test_twenty_thousand_cases_are_parted_in_seconds():
    rng = np.random.default_rng(0)
    cases = [
        _case(n, patient=f"p{rng.integers(9000)}", labels=_one_of(CLASSES[int(k)]))
        for n, k in enumerate(rng.choice(3, 20_000, p=[0.9, 0.09, 0.01]))
    ]
    start = time.process_time()
    folds_of(_manifest(cases), DataSection(), seed=0)
    assert time.process_time() - start < 5
