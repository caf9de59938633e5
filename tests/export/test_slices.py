"""A volume or sequence as pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from overread.export.content import ReportContent
from overread.export.overlay import compose
from overread.export.reading import Reading
from overread.export.report import render_report
from overread.export.slices import HIGHEST, draw_curve, explained_class, highest_of, slice_pictures
from overread.finding import Prediction
from overread.image import Geometry, Image

SCORES = (0.1, 0.2, 0.9, 0.3, 0.7, 0.8)


def clip(frames: int = 6, geometry: Geometry | None = None) -> Image:
    grey = np.arange(frames, dtype=np.float32)[None, :, None, None]
    return Image(np.broadcast_to(grey * 40, (1, frames, 20, 30)), geometry)


def reading(image: Image, scores: tuple[float | None, ...] = SCORES, answer: float = 0.8) -> Reading:
    whole = {"benign": 1 - answer, "malignant": answer}
    benign = tuple(None if score is None else 1 - score for score in scores)
    frames = {"benign": benign, "malignant": scores} if scores else {}
    return Reading(Prediction("a", (), whole, frame_scores=frames), image, None, "a")


def lines(made: Reading) -> str:
    return " / ".join(line.text for line in compose(made, side_px=300).lines)


def test_a_volume_is_shown_slice_by_slice_and_not_by_its_middle_one_alone() -> None:
    (sheet,) = compose(reading(clip(), ()), side_px=300).panels
    assert len(np.unique(np.asarray(sheet.convert("L")))) >= 6
    assert "Shown: 6 frames" in lines(reading(clip(), ()))


def test_the_slices_that_speak_for_the_answer_are_named_highest_first_counted_from_one() -> None:
    assert "Highest scores for malignant: frame 3 (0.90), 6 (0.80), 5 (0.70)" in lines(reading(clip()))
    assert "Highest scores for benign: frame 1 (0.90), 2 (0.80), 4 (0.70)" in lines(reading(clip(), answer=0.3))


def test_the_highest_slices_are_pictured_on_the_grey_scale_of_all() -> None:
    sheet, beside = compose(reading(clip()), side_px=300).panels
    shown = np.asarray(beside.convert("L"))[-20, :]
    third = shown.reshape(-1)[: 3 * (len(shown) // 3)].reshape(3, -1)
    middles = [int(np.median(part)) for part in third]
    assert middles == sorted(middles)
    assert 80 <= middles[0] <= 125  # frame 3 of 6 is not black, though it is the darkest of the three
    assert sheet.size != beside.size or sheet.tobytes() != beside.tobytes()


def test_where_all_slices_score_alike_none_is_pointed_out() -> None:
    alike = reading(clip(), (0.501, 0.502, 0.5, 0.503, 0.5, 0.5))
    assert "All frames score alike for malignant (about 0.50)" in lines(alike)
    assert "Highest" not in lines(alike)


def test_a_slice_that_was_cut_away_has_no_score_and_that_is_said() -> None:
    cut = reading(clip(), (None, 0.2, 0.9, 0.3, 0.7, None))
    assert "2 frames were cut away and not seen" in lines(cut)
    assert highest_of((None, 0.2, 0.9, 0.3, 0.7, None)) == [2, 3, 4]


def test_scores_that_do_not_belong_to_the_slices_are_not_drawn() -> None:
    assert len(compose(reading(clip(7)), side_px=300).panels) == 1


def test_millimetres_and_sides_are_said_only_where_the_file_says_them() -> None:
    placed = lines(reading(clip(geometry=Geometry(np.diag([0.5, 0.5, 3.0, 1.0])))))
    assert "the left edge is the patient's R, the top edge A; pixels are 0.5 x 0.5 mm, slices 3 mm apart" in placed
    assert "slice 3 (0.90)" in placed
    assert "frame" not in placed
    without = lines(reading(clip()))
    assert " mm" not in without
    assert "patient's" not in without
    moments = lines(reading(replace(clip(), sides=("L", "P"))))
    assert "In each frame the left edge is the patient's R" in moments
    assert "slice" not in moments


def test_the_curve_is_drawn_in_black_and_white_and_rises_with_the_score() -> None:
    rising = draw_curve([i / 9 for i in range(10)], "mass", (), word="slice", width_px=400)
    pixels = np.asarray(rising)
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() == 0
    dark = pixels[:, :, 0] < 60
    columns = [100, 200, 300]
    heights = [np.flatnonzero(dark[30:-40, column]).mean() for column in columns]
    assert heights[0] > heights[1] > heights[2]


@given(
    st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=70),
    st.text(st.characters(exclude_categories=("C", "Z")), max_size=60),
)
def test_any_scores_and_any_name_can_be_drawn(scores: list[float | None], name: str) -> None:
    highest = highest_of(scores)
    assert highest == sorted(set(highest))
    assert len(highest) <= HIGHEST
    known = sorted((score for score in scores if score is not None), reverse=True)
    assert sorted((scores[i] for i in highest), reverse=True) == known[: len(highest)]
    assert draw_curve(scores, name, highest, word="frame", width_px=300).width == 300


def test_the_pictures_of_a_long_clip_stay_small() -> None:
    noise = np.random.default_rng(0).random((1, 65, 288, 384), dtype=np.float32)
    made = reading(Image(noise), tuple(np.linspace(0, 1, 65).tolist()))
    panels, _ = slice_pictures(made, made.image, side_px=896)
    assert all(max(panel.size) <= 1000 for panel in panels)


def test_a_page_shows_the_sheet_and_the_curve_and_says_what_they_are(tmp_path: Path) -> None:
    made = reading(clip())
    html = render_report(ReportContent("t", "reading", "2024-01-01", readings=[made]))
    assert html.count("<img") == 2
    assert "a: the score of each frame, and the frames with the highest" in html
    assert explained_class(made) == "malignant"
