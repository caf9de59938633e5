"""What is on both sides of a split."""

from collections import Counter
from pathlib import Path

import pytest

from overread.data.fold import Fold
from overread.data.groups import near_ties
from overread.data.leaks import across_folds, between_splits, exact, near_pairs, refuse, tied
from overread.data.manifest import Case, Manifest
from overread.data.prepared import PreparedImages
from overread.data.problems import facts_of
from overread.data.section import DataSection
from overread.data.sources import open_data
from overread.data.split import folds_of
from overread.errors import DataLeak


def _cases(*rows: tuple[str, str | None]) -> Manifest:
    """(patient, split) a case."""
    cases = tuple(Case(f"c{n}", patient, (), {"x": True}, split=split) for n, (patient, split) in enumerate(rows))
    return Manifest("made", "table", "single-label", ("x", "y"), cases)


def _found(manifest: Manifest, same=None, near=()):
    return {leak.name: leak for leak in between_splits(manifest, same or {}, near)}


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val"), ("val", "test"), ("test", None)])
def test_a_patient_in_two_splits_is_found_and_stays_unnamed(splits) -> None:
    leaks = _found(_cases(("Doe^Jane", splits[0]), ("Doe^Jane", splits[1]), ("other", splits[0])))
    assert leaks["patient-in-two-splits"].where == ("c0", "c1")
    assert leaks["patient-in-two-splits"].severity == "warning"
    assert "Doe" not in leaks["patient-in-two-splits"].message
    assert list(leaks) == ["patient-in-two-splits"]


def test_no_split_meets_train_and_not_test() -> None:
    assert not _found(_cases(("p", "train"), ("p", None), ("q", "val"), ("q", "val")))


def test_identical_images_in_two_splits_are_found() -> None:
    manifest = _cases(("p", "train"), ("q", "val"), ("r", "train"), ("s", "train"))
    leaks = _found(manifest, {"c0": "same", "c1": "same", "c2": "twin", "c3": "twin"})
    assert leaks["duplicates-in-two-splits"].where == ("c0", "c1")
    with pytest.raises(DataLeak, match=r"(?s)across official splits.*: 2 \(c0.*Do this"):
        refuse(manifest, leaks.values(), advice="Do this")


def test_what_is_nearly_the_same_warns_and_stops_nobody() -> None:
    manifest = _cases(("p", "train"), ("q", "val"), ("r", "train"))
    leaks = _found(manifest, near=[("c0", "c1"), ("c0", "c2")])
    assert leaks["near-copies-in-two-splits"].where == ("c0", "c1")
    assert "c0 (train, like c1)" in leaks["near-copies-in-two-splits"].message
    assert not exact(leaks.values())
    refuse(manifest, leaks.values(), advice="")


def test_a_pair_counts_where_one_was_learned_from_and_the_other_tested() -> None:
    fold = Fold(0, ("a", "b"), ("c",), ("d", "e"))
    near = [("a", "b"), ("a", "c"), ("b", "d"), ("e", "c"), ("d", "e")]
    assert across_folds([fold], near) == [("b", "d"), ("e", "c")]


def test_what_is_tied_is_counted_and_copies_inside_one_patient_are_nothing_to_mention() -> None:
    cases = _cases(("p", None), ("p", None), ("q", None), ("r", None)).cases
    assert tied(cases, {"c0": "same", "c1": "same", "c2": "own"}) == (2, 0, 0)
    assert tied(cases, {"c2": "same", "c3": "same"}) == (2, 2, 0)
    assert tied(cases, {}, [("c0", "c2"), ("c2", "c3")]) == (2, 0, 3)
    assert tied(cases[:1], {}, [("c0", "c2")]) == (0, 0, 1)


def test_the_exact_copies_of_pneumoniamnist_lie_in_one_fold(real_data: Path) -> None:
    manifest = open_data(real_data / "medmnist" / "pneumoniamnist.npz")
    same = {case.case_id: facts_of(case.images[0]).pixel_digest for case in manifest.cases}
    copied = {digest for digest, count in Counter(same.values()).items() if count > 1}
    assert len(copied) > 15
    for section in (DataSection(), DataSection(scheme="repeated-k-fold", repeats=2)):
        for fold in folds_of(manifest, section, seed=0, same=same):
            parts = [{same[key] for key in part} & copied for part in (fold.fit, fold.validation, fold.test)]
            assert sum(map(len, parts)) == len(set.union(*parts)) == len(copied)
    with pytest.raises(DataLeak, match="across official splits"):
        folds_of(manifest, DataSection(scheme="official"), seed=0, same=same)


def test_no_near_copy_of_breastmnist_is_learned_from_and_tested(real_data: Path, tmp_path: Path) -> None:
    manifest = open_data(real_data / "medmnist" / "breastmnist.npz")
    images = PreparedImages(tmp_path)
    same = images.digests(manifest)
    near = near_pairs(manifest, images.facts, same)
    assert len(near) > 100
    ties = near_ties(manifest.cases, same, near)
    assert ties == near
    apart, together = (folds_of(manifest, DataSection(), seed=0, same=same, near=pairs) for pairs in ((), ties))
    assert len(across_folds(apart, near)) > 30
    assert across_folds(together, near) == []
