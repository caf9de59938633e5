"""What is wrong with a data set is found, named and counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overread.data.manifest import Case, ImageRef, Manifest, Problem, Task
from overread.data.problem_kinds import KINDS, ProblemLog
from overread.data.problems import ImageFacts, facts_of, problems
from overread.data.sources import open_data
from overread.errors import UnreadableImage
from overread.finding import Box, Finding, Mask, Region

NOWHERE = (ImageRef(Path("nowhere.png")),)


def _labelled(labels: list[str], *, task: Task = "single-label") -> Manifest:
    classes = ("x", "y")
    cases = tuple(
        Case(f"c{number}", f"p{number}", NOWHERE, labels={name: name == label for name in classes})
        for number, label in enumerate(labels)
    )
    return Manifest("made", "table", task, classes, cases)


def _marked(*regions: Region) -> Manifest:
    marks = tuple(Finding("cyst", region) for region in regions)
    return Manifest("made", "coco", "boxes", ("cyst",), (Case("c0", "p0", NOWHERE, marks=marks),))


def _facts(digests: dict[str, str] | None = None, shape: tuple[int, ...] = (20, 30)):
    def facts(ref: ImageRef) -> ImageFacts:
        if ref.item == "broken":
            raise UnreadableImage("broken.png: damaged")
        return ImageFacts(shape, 1, (digests or {}).get(ref.item or "", str(ref)), bytes(1024))

    return facts


def _found(manifest: Manifest, **options) -> dict[str, Problem]:
    if "facts" not in options:
        options["readable"] = False
    return {problem.name: problem for problem in problems(manifest, **options)}


def _with_items(manifest: Manifest) -> Manifest:
    """Each case with an image of its own name."""
    return manifest.with_cases(
        tuple(replace(case, images=(ImageRef(Path("a.npz"), case.case_id),)) for case in manifest.cases)
    )


def test_a_sound_data_set_has_no_problems():
    manifest = _with_items(_labelled(["x", "y"] * 5))
    assert not problems(manifest, folds=5, facts=_facts())


def test_what_the_source_met_is_kept_and_errors_come_first():
    met = Problem("warning", "unknown-file", "a file", ("a",))
    found = problems(replace(_labelled(["x"]), found=(met,)), readable=False)
    assert [problem.name for problem in found] == ["one-class-only", *_FEW, "unknown-file"]


_FEW = ["class-with-few-patients", "class-without-cases"]


def test_a_class_of_very_few_patients_is_named_before_anyone_trains():
    found = _found(_labelled(["x"] * 8 + ["y"] * 2))
    assert found["class-with-few-patients"].where == ("y",)
    assert found["class-with-few-patients"].severity == "warning"


def test_a_data_set_that_names_no_patient_says_so():
    manifest = _labelled(["x", "y"] * 5)
    nameless = manifest.with_cases(tuple(replace(case, patient_id=case.case_id) for case in manifest.cases))
    assert "no-patient-named" in _found(nameless)
    assert "no-patient-named" not in _found(manifest)


@pytest.mark.parametrize(("one", "other"), [("1", "001"), ("1", "1.0"), ("p1", "P1"), ("P 1", "p_01")])
def test_two_ways_of_writing_one_patient_stop_and_the_patient_stays_unnamed(one: str, other: str):
    manifest = _labelled(["x", "y"] * 5)
    first, second = (replace(case, patient_id=name) for case, name in zip(manifest.cases, (one, other), strict=False))
    problem = _found(manifest.with_cases((first, second, *manifest.cases[2:])))["similar-patient-ids"]
    assert problem.severity == "error"
    assert problem.where == ("c0", "c1")
    assert other not in problem.message.replace(KINDS["similar-patient-ids"].found, "")


def test_patients_who_are_told_apart_by_more_than_their_writing_are_left_alone():
    manifest = _labelled(["x", "y"] * 5)
    named = ["1", "10", "11", "1-1", "100", "p1", "p10", "0", "a1", "b1"]
    cases = (replace(case, patient_id=name) for case, name in zip(manifest.cases, named, strict=True))
    assert "similar-patient-ids" not in _found(manifest.with_cases(tuple(cases)))


def test_no_cases_and_one_class_only_and_a_repeated_id_stop():
    assert _found(_labelled([]))["no-cases"].severity == "error"
    assert _found(_labelled(["x", "x"]))["one-class-only"].where == ("x",)
    two = _labelled(["x", "y"])
    assert _found(two.with_cases((two.cases[0], two.cases[0])))["duplicate-id"].where == ("c0",)


def test_a_class_needs_as_many_patients_as_folds_not_only_as_many_cases():
    manifest = _labelled(["x"] * 5 + ["y"] * 5)
    assert not _found(manifest, folds=5)
    one_patient = manifest.with_cases(
        tuple(replace(case, patient_id="p") if case.label == "y" else case for case in manifest.cases)
    )
    problem = _found(one_patient, folds=5)["class-with-fewer-cases-than-folds"]
    assert problem.where == ("y",)
    assert problem.severity == "error"
    assert "5 cases of 1 patients for 5 folds" in problem.message


def test_several_labels_need_patients_with_and_without_each():
    cases = tuple(Case(f"c{n}", f"p{n}", NOWHERE, labels={"x": True, "y": n % 2 == 0}) for n in range(6))
    found = _found(Manifest("made", "table", "multi-label", ("x", "y"), cases), folds=3)
    assert found["class-without-cases"].where == ("not x",)
    assert list(found) == ["class-without-cases"]


def test_a_label_that_nobody_answered_for_any_case_is_an_error_because_it_could_not_be_learned():
    cases = tuple(Case(f"c{n}", f"p{n}", NOWHERE, labels={"x": n % 2 == 0, "y": None}) for n in range(12))
    found = _found(Manifest("made", "table", "multi-label", ("x", "y", "z"), cases), folds=3)
    assert list(found) == ["label-never-known"]
    assert found["label-never-known"].where == ("y", "z")
    assert found["label-never-known"].severity == "error"


@pytest.mark.parametrize(
    ("box", "name"),
    [
        ((5, 5, 5, 9), "box-without-area"),
        ((5, 5, 4, 9), "box-without-area"),
        ((5, 5, float("nan"), 9), "box-without-area"),
        ((-3, 0, 5, 5), "box-outside"),
        ((0, 0, 31, 5), "box-outside"),
        ((0, 0, 5, 21), "box-outside"),
    ],
)
def test_boxes_outside_or_without_area_stop(box: Box, name: str):
    found = _found(_marked(Region(box), Region((0, 0, 30, 20))), facts=_facts())
    assert found[name].severity == "error"
    assert found[name].where == ("c0",)


def test_masks_without_a_pixel_or_of_another_size_stop():
    assert "empty-mask" in _found(_marked(Region.from_mask(Mask.from_array(np.zeros((20, 30), bool)))))
    other = _marked(Region.from_mask(Mask.from_array(np.ones((30, 20), bool))))
    assert "mask (30, 20), image (20, 30) px" in _found(other, facts=_facts())["mask-size"].message


def test_one_mask_for_everything_is_noticed():
    drawn = np.zeros((20, 30), bool)
    drawn[2:4, 2:4] = drawn[9:12, 9:12] = True
    whole = replace(_marked(Region.from_mask(Mask.from_array(drawn))), task="masks")
    assert _found(whole, facts=_facts())["one-mask-in-parts"].where == ("c0",)
    single = Region.from_mask(Mask.from_array(drawn & (np.arange(30) < 6)))
    assert not _found(replace(_marked(single), task="masks"), facts=_facts())


def test_a_data_set_of_marks_without_any_stops_and_normal_images_do_not():
    assert _found(_marked())["no-marks"].severity == "error"
    some = _marked(Region((1, 1, 2, 2)))
    normal = replace(some.cases[0], case_id="c1", patient_id="p1", marks=())
    assert not _found(some.with_cases((*some.cases, normal)))


def test_unreadable_files_are_named_with_the_reason():
    manifest = _labelled(["x", "y"])
    broken = replace(manifest.cases[1], images=(ImageRef(Path("broken.png"), "broken"),))
    problem = _found(manifest.with_cases((manifest.cases[0], broken)), facts=_facts())["unreadable-file"]
    assert problem.where == ("c1",)
    assert "broken.png: damaged" in problem.message


def test_copies_warn_and_contradicting_copies_are_told_apart():
    manifest = _with_items(_labelled(["x", "y"] * 50))
    facts = _facts({"c0": "same", "c1": "same", "c2": "twin", "c4": "twin"})
    found = _found(manifest, facts=facts)
    assert found["duplicate-images"].where == ("c0", "c1", "c2", "c4")
    assert found["duplicates-with-different-truth"].where == ("c0", "c1")
    assert {problem.severity for problem in found.values()} == {"warning"}


def test_many_copies_under_other_patients_stop_and_under_the_same_patient_do_not():
    manifest = _with_items(_labelled(["x", "y"] * 10))
    facts = _facts({f"c{n}": f"d{n // 2}" for n in range(20)})
    assert _found(manifest, facts=facts)["many-duplicate-images"].severity == "error"
    same = manifest.with_cases(tuple(replace(case, patient_id=f"p{n // 2}") for n, case in enumerate(manifest.cases)))
    assert "many-duplicate-images" not in _found(same, facts=facts)


def test_facts_are_equal_for_equal_pixels_in_another_format(tmp_path: Path):
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    Image.fromarray(pixels.T.copy()).save(tmp_path / "t.png")
    facts = facts_of(ImageRef(tmp_path / "a.png"))
    assert facts == facts_of(ImageRef(tmp_path / "a.tif"))
    assert (facts.shape, facts.channels) == ((20, 30), 1)
    assert facts.pixel_digest != facts_of(ImageRef(tmp_path / "t.png")).pixel_digest


def test_a_damaged_file_of_a_real_layout_is_named(tmp_path: Path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        Image.new("L", (2, 2), ord(name)).save(tmp_path / name / "a.png")
    (tmp_path / "x" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert _found(open_data(tmp_path), facts=None)["unreadable-file"].where == ("x_b",)


def test_one_problem_a_kind_names_the_first_few_and_holds_all():
    log = ProblemLog()
    for number in range(7):
        log.add("unknown-file", f"f{number}")
    (problem,) = log.problems()
    assert problem.message.startswith(
        "Files that are no part of this layout and were left out: 7 (f0; f1; f2 and 4 more)"
    )
    assert len(problem.where) == 7
    assert problem.severity == KINDS["unknown-file"].severity


def test_pneumoniamnist_has_copies_and_may_be_trained_on(real_data: Path):
    found = problems(open_data(real_data / "medmnist" / "pneumoniamnist.npz"), folds=5)
    assert {problem.name for problem in found} == {"duplicate-images", "no-patient-named"}
    assert {problem.severity for problem in found} == {"warning"}
