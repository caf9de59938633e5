"""What a reader of a comparison sees first, and what cannot deceive him."""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from overread.evaluation.comparison import Difference
from overread.evaluation.delong import DeLong
from overread.evaluation.estimate import Estimate
from overread.export.comparison import ComparedRun, Comparison, Rival
from overread.export.comparison_page import render_comparison, write_comparison_picture
from overread.export.comparison_tables import comparison_lines
from overread.export.comparison_words import cost_rows, first_words, lead_words
from overread.export.figures import Advantage, advantages

EVIL = "<script>alert('x')</script>"


def number(metric: str, value: float | None, name: str | None = None) -> Estimate:
    ends = (None, None) if value is None else (value - 0.04, value + 0.04)
    return Estimate(metric, name, None, value, *ends, 0.95, 120, 80, 40, "a share")


def difference(metric: str, value: float | None, *, reach: float = 0.03, name: str | None = None) -> Difference:
    ends = (None, None) if value is None else (value - reach, value + reach)
    return Difference(metric, name, value, *ends, 0.95, 120, 80, 40, "undefined: too few" if value is None else "drawn")


def run(name: str, *estimates: Estimate, seconds: float | None = 60.0) -> ComparedRun:
    found = {(one.metric, one.class_name): one for one in estimates}
    return ComparedRun(name, "b", "two folds", (), 120, found, 2, 11_200_000, 44_800_000, seconds)


def compared(
    *rows: Difference, name: str = "new", task: str = "single-label", classes: Sequence[str] = ("ill", "well")
) -> Comparison:
    old = run("old", *(number(row.metric, 0.8, row.class_name) for row in rows))
    new = run(name, *(number(row.metric, 0.8 + (row.value or 0), row.class_name) for row in rows), seconds=150.0)
    return Comparison(
        created="2026-11-23T10:00:00+00:00", unit="image", data="lesions", task=task,  # type: ignore[arg-type]
        classes=tuple(classes), fingerprint="f" * 64,
        simulated=False, names_patients=True, n_cases=120, n_patients=80, n_groups=80, left_out=0,
        level=0.95, draws=1000, seed=1, reference=old, rivals=[Rival(new, rows)], warnings=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([difference("auroc", 0.05)], "By AUROC, 'new' is better than 'old', by more than chance"),
        ([difference("auroc", -0.05)], "'new' is worse than 'old', by more than chance"),
        ([difference("auroc", 0.02)], "By AUROC, no difference between 'new' and 'old' was shown: what there is could"),
        ([difference("auroc", 0.0, reach=0.0)], "'new' gives the same answers as 'old'"),
        ([replace(difference("auroc", 0.0), low=None)], "By AUROC, no difference between 'new' and 'old' was seen"),
        ([difference("auroc", None)], "cannot be said from these images"),
        ([difference("marks_found", 0.1), difference("false_marks", -0.5)], "and the false marks, 'new' is better"),
        ([difference("marks_found", 0.1), difference("false_marks", 0.5)], "better than 'old' in one thing and worse"),
        ([difference("marks_found", 0.01), difference("false_marks", 0.5)], "'new' is worse than 'old'"),
    ],
)
def test_the_first_sentence_says_who_is_better_and_whether_it_could_be_chance(
    rows: list[Difference], said: str
) -> None:
    made = compared(*rows, task="boxes" if rows[0].metric == "marks_found" else "single-label")
    assert said in lead_words(made, made.rivals[0])
    assert render_comparison(made, b"").index(said.replace("'", "&#39;")) < render_comparison(made, b"").index("<h2")


def test_the_first_words_deny_no_difference_that_the_table_shows() -> None:
    ill, well = (difference("sensitivity", value, name=name) for value, name in ((-0.1, "ill"), (0.01, "well")))
    made = compared(difference("auroc", 0.01), difference("accuracy", 0.08), difference("brier", 0.2), ill, well)
    said = lead_words(made, made.rivals[0])
    assert said.startswith("By AUROC, no difference between 'new' and 'old' was shown: what there is could be chance.")
    assert said.endswith("Of the other numbers, 'new' is better in accuracy and worse in Brier score, ill called so.")
    alone = compared(difference("auroc", 0.01), difference("accuracy", 0.01))
    assert "other" not in lead_words(alone, alone.rivals[0])


def test_a_doctor_reads_how_many_of_each_class_are_called_so() -> None:
    made = compared(difference("auroc", 0.05), difference("sensitivity", 0.1, name="ill"))
    assert first_words(made, made.rivals[0])[1] == "Of 40 ill, new calls 36 so, old 32: better."


def test_interval_and_p_stand_behind_every_difference_and_corrected_p_where_there_are_several() -> None:
    test = DeLong(0.05, 0.01, 0.09, 0.012, "DeLong's test over 120 cases")
    one = replace(difference("auroc", 0.05), test=test, p_holm=0.012)
    assert (
        "difference +0.050 [+0.020, +0.080], p = 0.012: better."
        in first_words(compared(one), compared(one).rivals[0])[0]
    )
    several = compared(replace(one, p_holm=0.06))
    (words,) = first_words(several, several.rivals[0])
    assert words.endswith("p = 0.012, corrected p = 0.060: could be chance.")


def test_the_terminal_shows_both_numbers_the_difference_and_what_the_models_cost() -> None:
    lines = comparison_lines(compared(difference("auroc", 0.05), difference("brier", -0.05)))
    table = {line.split("  ")[0]: line for line in lines}
    assert "0.800 [0.760, 0.840]  0.850 [0.810, 0.890]  +0.050 [+0.020, +0.080]  better" in table["AUROC"]
    assert table["Brier score (lower is better)"].endswith("-0.050 [-0.080, -0.020]  better")
    assert "1 min 0 s" in table["training time"]
    assert table["training time"].endswith("2.5 times")
    assert lines[-1] == "120 images of 80 patients that both runs answered. In brackets are 95% intervals."


def test_of_a_table_rows_are_compared_and_no_images() -> None:
    made = replace(compared(difference("auroc", None)), unit="row", names_patients=False)
    page = render_comparison(made, b"")
    words = re.sub("<[^>]*>", " ", re.sub("<style>.*?</style>", "", page, flags=re.DOTALL))
    assert not re.search("image|scanner", words)
    assert "120 rows, patients not named, that both runs answered" in words
    assert "120 rows" in comparison_lines(made)[-1]


def test_a_cost_that_was_not_kept_is_not_invented() -> None:
    rows = {what: others for what, *others in cost_rows(run("a", seconds=None), run("b"))}
    assert rows["training time"] == ["not kept", "1 min 0 s", ""]
    assert rows["parameters of a network"] == ["11.2 million", "11.2 million", "the same"]


def test_names_are_words_and_never_markup() -> None:
    made = compared(
        difference("auroc", 0.05), difference("auroc", 0.05, name=EVIL), name=EVIL, classes=(EVIL, "b", "c")
    )
    made = replace(made, data=EVIL, warnings=[EVIL])
    page = render_comparison(made, b"")
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") > 5


def test_what_must_be_known_before_any_number_stands_above_it() -> None:
    made = replace(
        compared(difference("auroc", 0.05)), simulated=True, names_patients=False, warnings=["3 images were refused"]
    )
    page = render_comparison(made, b"")
    assert page.index("SIMULATED DATA") < page.index("3 images were refused") < page.index("is better than")
    assert "counts as a patient of its own" in page
    assert "does not say that two runs are equally good" in page.replace("&#39;", "'")


@pytest.mark.parametrize("name", ["$x_1^{2$", "画像", "a" * 300, "new\nline"])
def test_a_picture_is_drawn_whatever_the_runs_are_called(name: str, tmp_path: Path) -> None:
    made = compared(difference("auroc", 0.05), difference("brier", None), name=name)
    with Image.open(write_comparison_picture(tmp_path / "p.png", made)) as picture:
        assert picture.width > 1000
        assert picture.height > 100


def test_better_is_right_of_the_line_in_the_colour_of_its_row() -> None:
    def centre(value: float) -> float:
        made = advantages(
            [("t", [Advantage("x", value, value - 0.1, value + 0.1, amount=False, colour="#ff0000")])], ""
        )
        with Image.open(BytesIO(made)) as picture:
            red = picture.convert("RGB").convert("L", (1, -1, 0, 0))
            left, _, right, _ = red.point(lambda level: 255 * (level > 200)).getbbox() or (0, 0, 0, 0)
            return (left + right) / 2 / picture.width

    assert centre(0.3) > centre(0.0) > centre(-0.3)
