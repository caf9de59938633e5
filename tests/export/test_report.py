import base64
import html
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overread.data.manifest import Case, ImageRef, Manifest, Problem
from overread.evaluation.classification import classification_estimates
from overread.evaluation.estimate import Estimate
from overread.export import report
from overread.export.content import Confusion, FoldRow, FrocCurve, History, LabelCurves, ReportContent
from overread.export.reading import Reading
from overread.export.report import render_report, write_report
from overread.export.wording import worsened_words
from overread.finding import Finding, Mask, Prediction, Region
from overread.image import Image

EVIL = "<script>alert('x')</script><img src=x onerror=y>"


def estimate(metric: str, value: float | None, **other: object) -> Estimate:
    interval = (None, None) if value is None else (value - 0.07, value + 0.06)
    row = Estimate(metric, None, None, value, *interval, 0.95, 119, 83, 31, "made by bootstrap")
    return replace(row, **other)


class Words(HTMLParser):
    """What a reader sees, and the tags that make it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(page: str) -> str:
    return " ".join(Words(page).text.split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, marked: Reading, labelled: Callable[..., Reading]) -> ReportContent:
    """A report with every section."""
    file = tmp_path_factory.mktemp("secret_place") / "a.png"
    file.write_bytes(b"x")
    classes = ("malignant", "benign")
    cases = tuple(
        Case(f"case-{i}", f"p-{i // 2}", (ImageRef(file),), {"malignant": i % 3 == 0, "benign": i % 3 != 0})
        for i in range(12)
    )
    rng = np.random.default_rng(0)
    epochs = [{"epoch": e, "train_loss": 1 / e, "validation_score": e / 9, "seconds": 1.0} for e in range(1, 6)]
    return ReportContent(
        "A training",
        "training",
        "2026-01-02T03:04:05Z",
        warnings=["Leak: one patient is in two folds."],
        manifest=Manifest("set one", "folder", "single-label", classes, cases),
        problems=[Problem("warning", "duplicate-image", "Two are equal.", tuple(f"case-{i}" for i in range(12)))],
        estimates=[
            estimate("accuracy", 0.91),
            estimate("auroc", 0.8123),
            estimate("auroc", 0.7, class_name="benign", n_cases=118),
            estimate("auroc", None, class_name="malignant", n_cases=117, method="undefined: needs positive cases"),
        ],
        curves=LabelCurves(rng.integers(0, 2, 30), rng.random((30, 2)), classes),
        froc=[FrocCurve(None, np.array([0.0, 0.5, 3]), np.array([0.1, 0.5, 0.9]), 12, 40)],
        confusion=Confusion(np.array([[7, 3], [0, 0]]), classes),
        histories=[History(0, epochs, chosen=4)],
        folds=[FoldRow(0, 70, 12, 18, 4)],
        examples=[("The worst case", marked), ("The best case", labelled(3, 0.9, "malignant"))],
        recipe_toml='name = "x"\n[data]\nfolds = 5',
        environment={"python": "3.11"},
        notes=["One hospital only."],
    )


@pytest.fixture(scope="module")
def page(full: ReportContent) -> str:
    """That report."""
    return render_report(full)


@pytest.fixture(scope="module")
def light(full: ReportContent) -> ReportContent:
    """A report without figures."""
    return replace(full, curves=None, froc=(), histories=(), examples=())


def test_every_estimate_is_on_the_page_with_its_interval_and_n(full: ReportContent, page: str) -> None:
    text = seen(page)
    for row in full.estimates:
        assert str(row.n_cases) in text
        if row.value is not None and row.low is not None and row.high is not None:
            assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" in text
    assert "Value [95% interval]" in text


def test_a_number_that_is_not_defined_is_said_in_words(page: str) -> None:
    text = seen(page)
    assert "not defined: needs positive cases" in text
    assert "None" not in text
    assert "nan" not in text.lower().split()


def test_the_headline_is_a_number_that_does_not_flatter_a_rare_class(page: str) -> None:
    headline = re.search(r'class="headline">(.*?)</p>', page, re.DOTALL)
    assert headline is not None
    assert "AUROC 0.812 [0.742, 0.872]" in headline[1]
    assert "119 images of 83 patients" in headline[1]
    assert "accuracy" not in headline[1]


def test_warnings_stand_before_every_number(light: ReportContent) -> None:
    page = render_report(replace(light, simulated=True))
    assert page.index("SIMULATED DATA") < page.index("0.812")
    assert page.index("Leak: one patient") < page.index("0.812")


def test_numbers_of_a_model_of_simulated_images_are_told_from_numbers_of_simulated_images(
    light: ReportContent,
) -> None:
    page = render_report(replace(light, kind="evaluation", model_simulated=True))
    assert page.index("This model learned from SIMULATED images") < page.index("0.812")
    assert "SIMULATED DATA" not in page


def test_each_section_is_there(page: str) -> None:
    text = seen(page)
    for words in (
        *("12 of 6 patients", "fingerprint", "duplicate-image", "and 2 more", "The worst case", "Fold 0: epoch 4 kept"),
        *(
            "70 %",
            "folds = 5",
            "python 3.11",
            "One hospital only.",
            "not for diagnosis",
            "What this cannot say",
        ),
    ):
        assert words in text


def test_the_page_needs_nothing_else_and_tells_no_path(full: ReportContent, page: str) -> None:
    assert full.manifest is not None
    folder = str(full.manifest.cases[0].images[0].path.parent)
    assert not re.search(r"https?://", page)
    assert folder not in page
    assert not {"script", "link", "iframe", "object"} & Words(page).tags
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', page))
    svgs = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
    assert svgs
    for svg in svgs:
        text = base64.b64decode(svg).decode()
        assert "<script" not in text
        assert folder not in text


def test_names_from_files_cannot_become_markup(light: ReportContent, labelled: Callable[..., Reading]) -> None:
    reading = labelled(0, 0.5, "benign")
    evil = replace(
        reading,
        name=EVIL,
        prediction=Prediction(EVIL, (Finding(EVIL, Region((0, 0, 3, 3)), 0.5),), {EVIL: 0.5}),
    )
    refused = replace(reading, name=EVIL, image=None, prediction=Prediction(EVIL, refused=EVIL))
    content = replace(
        light,
        title=EVIL,
        warnings=[EVIL],
        problems=[Problem("error", EVIL, EVIL, (EVIL,))],
        examples=[(EVIL, evil)],
        readings=[evil, refused],
        estimates=[estimate("auroc", 0.5, class_name=EVIL, subgroup=EVIL, method=EVIL)],
        confusion=Confusion(np.eye(1, dtype=int), (EVIL,)),
        recipe_toml=EVIL,
        environment={EVIL: EVIL},
    )
    page = render_report(content)
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "script" not in Words(page).tags


def test_a_reading_shows_refused_images_first_with_the_reason(
    labelled: Callable[..., Reading], marked: Reading, refused: Reading
) -> None:
    new = replace(marked, truth=None, marks_lesions=True)
    page = render_report(ReportContent("r", "reading", "now", readings=[labelled(1, 0.9), new, refused]))
    text = seen(page)
    assert "3 images given, 2 read, 1 refused; answers (the class with the highest score): malignant 1;" in text
    assert "1 with marks: image 1." in text
    pages = [render_report(ReportContent("r", "reading", "now", readings=[new] * n)) for n in (1, 5)]
    assert all("with marks." in seen(one) for one in pages)  # where all have marks, no names are needed
    assert page.index("at least 32 x 32 px") < page.index("malignant 0.90")
    assert "malignant 0.90 (others: benign 0.10)" in text
    assert "8 x 5 px" in text
    assert "not an image without disease" in text


def test_width_and_place_of_a_mark_are_those_of_the_outline_that_is_drawn(marked: Reading, square: Mask) -> None:
    wider = Finding("tumour", Region((7, 3, 21, 12), square), 0.9)
    empty = Finding("cyst", Region((1, 2, 5, 9), Mask.from_array(np.zeros((20, 30), dtype=bool))), 0.8)
    reading = replace(marked, truth=None, prediction=Prediction("a", (wider, empty)))
    text = seen(render_report(ReportContent("r", "reading", "now", readings=[reading])))
    assert "tumour0.908 x 5 px10, 5" in text
    assert "cyst0.804 x 7 px1, 2" in text


def test_a_reading_of_nothing_is_a_page_too() -> None:
    assert "0 images given" in seen(render_report(ReportContent("r", "reading", "now")))


def test_a_class_without_positives_gets_words_instead_of_a_curve() -> None:
    curves = LabelCurves(np.array([[0, 1], [0, 0], [np.nan, 1]]), np.full((3, 2), 0.5), ("rare", "common"))
    page = seen(render_report(ReportContent("e", "evaluation", "now", curves=curves)))
    assert "2 images, 0 positive" in page
    assert "No curve: all images are negative." in page


def test_where_no_patients_are_named_the_report_says_what_that_means(light: ReportContent, page: str) -> None:
    assert light.manifest is not None
    cases = tuple(replace(case, patient_id=case.case_id) for case in light.manifest.cases)
    without = replace(light, manifest=light.manifest.with_cases(cases))
    text = seen(render_report(without))
    assert "names no patients" in text
    assert "images, patients not named" in text
    assert not re.search(r"of \d+ patients", text)
    assert "names no patients" not in seen(page)


def test_where_some_images_name_no_patient_the_report_says_how_many(light: ReportContent, page: str) -> None:
    assert light.manifest is not None
    first, second, *others = light.manifest.cases
    some = (replace(first, patient_id=first.case_id), replace(second, patient_id=second.case_id), *others)
    text = seen(render_report(replace(light, manifest=light.manifest.with_cases(some))))
    assert "2 images name no patient, so each of these counts as a patient of its own" in text
    assert "no patient" not in seen(page)


def test_many_readings_stay_a_file_that_can_be_sent(marked: Reading) -> None:
    rough = np.random.default_rng(0).integers(0, 255, (3, 240, 320)).repeat(2, axis=1).repeat(2, axis=2)
    busy = replace(marked, image=Image(rough.astype(np.float32)), truth=None)
    page = render_report(ReportContent("r", "reading", "now", readings=[busy] * 51))
    assert page.count("data:image/") == 102
    assert len(page) < 20_000_000  # even of noise


def test_nothing_is_left_behind_when_a_figure_fails(
    tmp_path: Path, full: ReportContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(report.figures, "learning", fail)
    with pytest.raises(MemoryError):
        write_report(tmp_path / "new" / "report.html", full)
    assert not (tmp_path / "new").exists()


def test_the_report_is_written_as_a_whole(tmp_path: Path, light: ReportContent) -> None:
    path = write_report(tmp_path / "report.html", light)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_no_score_reads_as_certainty(labelled: Callable[..., Reading]) -> None:
    text = seen(render_report(ReportContent("r", "reading", "now", readings=[labelled(0, 1.0)])))
    assert "malignant >0.99 (others: benign <0.01)" in text
    assert "1.00" not in text


def test_an_answer_that_could_as_well_be_the_other_is_marked_as_close(labelled: Callable[..., Reading]) -> None:
    page = render_report(ReportContent("r", "reading", "now", readings=[labelled(0, 0.99), labelled(1, 0.47)]))
    assert "benign 0.53 (close: malignant 0.47)" in seen(page)
    assert "malignant 0.99 (others: benign 0.01)" in seen(page)
    assert "benign 1, malignant 1" in seen(page) or "malignant 1, benign 1" in seen(page)
    assert "1 close between classes: image 1." in seen(page)
    assert page.count('<td class="close">') == 1


@pytest.mark.parametrize("kind", ["training", "evaluation", "reading"])
def test_the_score_of_a_model_of_normal_images_is_explained_before_any_number(kind: str) -> None:
    measured = () if kind == "reading" else [estimate("auroc", 0.8123)]
    text = seen(render_report(ReportContent("r", kind, "now", estimates=measured, knows_only="normal")))
    said = text.index("This model learned from normal images only. Its score says how unlike them another one is")
    assert "Anything unusual scores high, also another part of the body, inverted grey values" in text
    assert kind == "reading" or text.index("How good it is") < said < text.index("Measure")
    assert "learned from normal images only" not in seen(render_report(ReportContent("r", kind, "now")))


def test_what_is_unlike_normal_images_is_not_called_by_the_name_of_a_disease(labelled: Callable[..., Reading]) -> None:
    readings = [replace(labelled(number, score), knows_only="benign") for number, score in enumerate((0.83, 0.1))]
    text = seen(render_report(ReportContent("r", "reading", "now", readings=readings, knows_only="benign")))
    assert "not benign (malignant in its data) 0.83 (others: benign 0.17)" in text
    assert "benign 0.90 (others: not benign (malignant in its data) 0.10)" in text
    assert text.count("malignant") == text.count("not benign (malignant in its data)")


def test_scores_that_do_not_exclude_each_other_are_not_close(labelled: Callable[..., Reading]) -> None:
    several = replace(labelled(0, 0.53), exclusive=False)
    assert "close" not in re.sub(
        "<style>.*</style>",
        "",
        render_report(ReportContent("r", "reading", "now", readings=[several])),
        flags=re.DOTALL,
    )


def test_no_use_for_diagnosis_is_left_open(page: str) -> None:
    assert "not for diagnosis" in seen(page)
    assert "primary" not in seen(page)


def test_the_headline_says_how_many_of_each_class_were_answered_rightly(light: ReportContent) -> None:
    counted = replace(light, confusion=Confusion(np.array([[104, 64], [26, 430]]), ("malignant", "benign")))
    assert "Answered rightly: 104 of 168 malignant, 430 of 456 benign." in seen(render_report(counted))


def counted(class_name: str | None, found: float, false: float, marks: int) -> list[Estimate]:
    known = {"class_name": class_name, "n_positive": marks, "n_cases": 87}
    return [estimate("marks_found", found, **known), estimate("false_marks", false, **known)]


def test_the_headline_of_marks_is_how_many_are_found_and_how_many_are_false(light: ReportContent) -> None:
    rows = [
        estimate("coco_ap", 0.6, n_cases=87),
        *counted(None, 0.8, 2.0, 1055),
        *counted("RBC", 751 / 968, 3.21, 968),
        *counted("WBC", 1.0, 0.0, 87),
    ]
    page = render_report(replace(light, estimates=rows, thresholds=[0.7045]))
    (headline,) = re.findall(r'class="headline">(.*?)</p>', page, re.DOTALL)
    plain = re.sub(r" \([01]\.[^)]*\)", "", headline)
    assert plain.startswith(
        "On images that were held out from training (87 images of 83 patients), at a score of 0.70 or higher: 751 of "
        "968 RBC found, 3.2 false marks an image; 87 of 87 WBC found, no false marks. "
    )
    assert "751 of 968 RBC found (0.776" in headline
    assert "average precision" not in headline
    assert "(IoU 0.50)" in headline
    folds = seen(render_report(replace(light, estimates=rows, thresholds=[0.7, 0.55])))
    assert "at the score that each fold chose (0.55 to 0.70) or higher" in folds


def test_of_many_classes_the_headline_counts_all_marks_together(light: ReportContent) -> None:
    rows = [estimate("coco_ap", 0.6), *(one for n in range(20) for one in counted(f"type {n}", 0.5, 0.25, 10))]
    text = seen(render_report(replace(light, estimates=rows, thresholds=[0.5])))
    assert "100 of 200 true marks found, 5.0 false marks an image" in text


def test_a_mean_of_the_classes_is_not_called_the_sensitivity(light: ReportContent) -> None:
    truth, scores = [0] * 4 + [1] * 8, [[0.9, 0.1]] + [[0.2, 0.8]] * 11
    patients = [f"p-{number}" for number in range(12)]
    measured = classification_estimates(
        truth, scores, ("malignant", "benign"), patients, task="single-label", draws=20, level=0.95, seed=0
    )
    text = seen(render_report(replace(light, estimates=measured)))
    assert "sensitivity, mean of the classes0.625" in text
    assert "sensitivity0.250" in text
    assert "AUROC, mean" not in text


def test_a_mean_over_three_classes_does_not_call_all_images_positive(light: ReportContent) -> None:
    measured = classification_estimates(
        [0, 1, 2] * 4, np.random.default_rng(0).random((12, 3)), ("a", "b", "c"), [f"p-{n}" for n in range(12)],
        task="single-label", draws=20, level=0.9905, seed=0,
    )  # fmt: skip
    (mean,) = (one for one in measured if one.metric == "auroc" and one.class_name is None)
    page = render_report(replace(light, estimates=[mean]))
    assert '<td class="n"></td></tr>' in page
    assert "(99.05% interval)" in page
    assert "Value [99.05% interval]" in page


def test_a_class_that_was_measured_in_another_way_says_so(light: ReportContent) -> None:
    drawn, exact = estimate("auroc", 0.7), replace(estimate("auroc", 1.0), class_name="rare", method="exact")
    text = seen(render_report(replace(light, estimates=[replace(drawn, method="drawn"), exact])))
    assert "all classes: drawn. rare: exact" in text


def test_a_mean_over_classes_is_no_other_way_of_measuring(light: ReportContent) -> None:
    one = replace(estimate("auroc", 0.6), class_name="rare", method="ranked; drawn")
    for said in ("ranked; mean over 2 classes; drawn", "ranked; that of 'rare'; drawn"):
        text = seen(render_report(replace(light, estimates=[replace(estimate("auroc", 0.7), method=said), one])))
        assert f"AUROC: {said}" in text
        assert "ranked; drawn" not in text


def test_a_froc_curve_that_ends_before_one_false_mark_in_eight_images_is_seen() -> None:
    few = FrocCurve("stone", np.array([0.0, 0.02, 0.1]), np.array([0.2, 0.5, 0.9]), 100, 60)
    drawn = report.figures.froc(few)
    assert b"<!-- 1/64 -->" in drawn  # matplotlib says in a comment what it drew as paths
    many = replace(few, false_marks=np.array([0.0, 0.005, 60.0]))
    assert report.figures.froc(many).count(b"<!-- 1/") + drawn.count(b"<!-- 1/") < 10  # words have room


def test_the_numbers_of_the_only_class_are_not_told_twice(light: ReportContent) -> None:
    both = [estimate("coco_ap50", 0.6), estimate("coco_ap50", 0.6, class_name="nucleus")]
    assert seen(render_report(replace(light, estimates=both))).count("0.600 [") == 2  # headline and table
    two = [*both, estimate("coco_ap50", 0.6, class_name="debris")]
    assert seen(render_report(replace(light, estimates=two))).count("0.600 [") == 4


def test_a_short_name_that_nobody_put_in_words_stands_in_capitals(light: ReportContent) -> None:
    text = seen(render_report(replace(light, estimates=[estimate("mcc", 0.7)])))
    assert "MCC" in text
    assert "mcc" not in text


def test_names_of_measures_are_words(light: ReportContent) -> None:
    text = seen(render_report(replace(light, estimates=[estimate("tp_ap_50", 0.7), estimate("coco_ap75", 0.6)])))
    assert "right / (right + false + missed), IoU 0.50" in text
    assert "tp" not in text.split()
    assert "coco" not in text.split()


def test_where_marks_are_measured_the_report_says_which_count_as_false(light: ReportContent, page: str) -> None:
    assert "something that nobody marked" in seen(page)
    assert "something that nobody marked" not in seen(render_report(light))


def test_where_no_validation_score_was_measured_none_is_drawn_or_spoken_of(light: ReportContent, page: str) -> None:
    epochs = [{"epoch": e, "train_loss": 1 / e, "validation_score": None, "seconds": 1.0} for e in range(1, 6)]
    unmeasured = render_report(replace(light, histories=[History(0, epochs, chosen=5)]))
    assert "Fold 0: epoch 5 kept" in seen(unmeasured)
    assert "validation score" not in seen(unmeasured)
    assert "validation score" in seen(page)


def test_a_curve_of_marks_is_put_in_words(light: ReportContent) -> None:
    curve = FrocCurve("cyst", np.array([0.0, 0.5, 3]), np.array([0.1, 0.5, 0.9]), 12, 40)
    text = seen(render_report(replace(light, froc=[curve])))
    assert "12 images. With one false mark an image at most, on average, 20 of 40 true marks are found." in text


def order_of(page: str) -> list[str]:
    return re.findall(r'<td><a href="#image-\d+">(.*?)</a>', page)


def test_a_reading_answers_first_and_then_says_how_far_to_trust_it(labelled: Callable[..., Reading]) -> None:
    content = ReportContent("r", "reading", "now", readings=[labelled(0, 0.9)], measured=["It was measured."])
    page = render_report(content)
    assert page.count("What this cannot say") == 1
    answer, measured, limits, picture = (
        page.index(words) for words in ("malignant 0.90", "It was measured.", "What this cannot say", "data:image/")
    )
    assert answer < measured < limits < picture


def test_what_looks_least_like_a_healthy_class_comes_first(labelled: Callable[..., Reading], refused: Reading) -> None:
    readings = [labelled(1, 0.02), labelled(2, 0.97), refused, labelled(3, 0.47)]
    page = render_report(ReportContent("r", "reading", "now", readings=readings, healthy=("benign",)))
    assert order_of(page) == ["image 9", "image 2", "image 3", "image 1"]
    assert "then by the score for 'benign', the lowest first" in html.unescape(page)
    assert page.index('id="image-1"') < page.index("at least 32 x 32 px", page.index('id="image-1"'))


def test_several_healthy_classes_count_together(labelled: Callable[..., Reading]) -> None:
    scores = [(0.1, 0.8, 0.1), (0.5, 0.1, 0.4), (0.8, 0.1, 0.1)]
    readings = [
        replace(
            labelled(number, 0),
            prediction=Prediction("a", (), dict(zip(("normal", "sick", "benign"), some, strict=True))),
        )
        for number, some in enumerate(scores)
    ]
    page = render_report(ReportContent("r", "reading", "now", readings=readings[::-1], healthy=("normal", "benign")))
    assert order_of(page)[0] == "image 0"
    assert "by the score for 'normal' and 'benign'" in html.unescape(page)


def test_where_no_class_is_known_to_be_healthy_the_order_given_stays_and_that_is_said(
    labelled: Callable[..., Reading], refused: Reading
) -> None:
    readings = [labelled(1, 0.02), labelled(2, 0.97), refused, labelled(3, 0.47)]
    page = render_report(ReportContent("r", "reading", "now", readings=readings))
    assert order_of(page) == ["image 9", "image 1", "image 2", "image 3"]
    assert "which class is the healthy one is not known" in page


def test_of_labels_that_may_be_several_the_surest_comes_first_but_not_for_health(
    labelled: Callable[..., Reading],
) -> None:
    scores = [{"no finding": 0.9, "mass": 0.1}, {"no finding": 0.1, "mass": 0.6}]
    readings = [
        replace(labelled(number, 0), exclusive=False, prediction=Prediction("a", (), some))
        for number, some in enumerate(scores)
    ]
    page = render_report(ReportContent("r", "reading", "now", readings=readings, healthy=("no finding",)))
    assert order_of(page) == ["image 1", "image 0"]
    assert "from the highest score down, that for 'no finding' left aside" in html.unescape(page)


def test_images_with_marks_come_before_those_without_the_highest_score_first(marked: Reading) -> None:
    def found(name: str, *scores: float) -> Reading:
        marks = tuple(Finding("tumour", Region((1, 1, 5, 5)), score) for score in scores)
        return replace(marked, truth=None, name=name, exclusive=False, prediction=Prediction(name, marks))

    readings = [found("none"), found("low", 0.55, 0.51), found("high", 0.5, 0.93), found("none too")]
    page = render_report(ReportContent("r", "reading", "now", readings=readings))
    assert order_of(page) == ["high", "low", "none", "none too"]
    assert "2 with marks: high, low." in seen(page)
    assert "2 marks (2 tumour), highest score 0.93" in seen(page)


def test_what_is_lost_at_one_strength_of_noise_is_said_whatever_is_won_at_another() -> None:
    told = {"ssim_noisy": (0.867, 0.371), "ssim": (0.82, 0.57), "psnr_db_noisy": (24.0, 14.0), "psnr_db": (24.1, 17.9)}
    rows = [
        estimate(metric, value, subgroup=noise)
        for metric, values in told.items()
        for noise, value in zip(("noise of 5%", "noise of 20%"), values, strict=True)
    ]
    assert worsened_words(rows) == ["This model makes images with noise of 5% worse: SSIM from 0.867 to 0.820"]
    assert worsened_words([replace(row, value=None) for row in rows]) == []


def test_the_score_of_a_mark_that_is_not_shown_says_so(marked: Reading) -> None:
    scores = {"tumour": 0.87, "cyst": 0.34, "stone": 0.0}
    answer = Prediction("case-1", marked.marks[:1], scores)
    own = replace(marked, prediction=answer, truth=None, exclusive=False, marks_lesions=True, threshold=0.5)
    text = seen(render_report(ReportContent("r", "reading", "now", readings=[own])))
    assert "tumour0.87 cyst0.34 (below 0.50: not shown) stoneno mark" in text
    assert "not shown" not in seen(
        render_report(ReportContent("r", "reading", "now", readings=[replace(own, marks_lesions=False)]))
    )


def test_a_reading_has_the_limits_of_what_its_model_does(
    marked: Reading, labelled: Callable[..., Reading], refused: Reading
) -> None:
    def limits(*readings: Reading, **other: Any) -> str:
        page = seen(render_report(ReportContent("r", "reading", "now", readings=readings, **other)))
        return page[page.index("What this cannot say") : page.index("Image by image")]

    without_marks, with_these = "An image without marks is not", "answers with these also for images of another kind"
    marks = [replace(one, exclusive=False, marks_lesions=True, truth=None) for one in (marked, refused)]
    for said in (limits(*marks), limits(marks[1])):  # also where all are refused
        assert without_marks in said
        assert with_these not in said
    assert without_marks not in limits(labelled(1, 0.5))
    assert with_these in limits(labelled(1, 0.5))
    assert with_these in limits(replace(labelled(1, 0.5), exclusive=False))
