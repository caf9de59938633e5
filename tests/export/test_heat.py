"""The picture of a heat map shows where, in colour and in grey."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from overread.export.content import ReportContent
from overread.export.heat import heat_of
from overread.export.overlay import compose
from overread.export.reading import Reading
from overread.export.report import render_report
from overread.finding import Prediction
from overread.image import Geometry, Image


def heatmap(*, row: int, column: int) -> np.ndarray:
    found = np.full((20, 30), 0.1, dtype=np.float32)
    found[row, column] = 2.0
    return found


def reading(image: Image, heat: np.ndarray | None) -> Reading:
    prediction = Prediction("case", (), {"normal": 0.3, "ill": 0.7}, heatmap=heat)
    return Reading(prediction, image, None, "image")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_brightest_place_of_the_picture_is_that_of_the_map(image: Image, mode: str) -> None:
    made = compose(reading(image, heatmap(row=4, column=21)), side_px=300)
    assert made.says[-1] == "the heat map"
    plain, heat = made.panels
    cell = plain.width // 30
    bright = np.asarray(heat.convert(mode), dtype=float).reshape(heat.height, heat.width, -1).sum(2)[:, : plain.width]
    rows, columns = np.nonzero(bright == bright.max())
    assert (rows.min() // cell, rows.max() // cell) == (4, 4)
    assert (columns.min() // cell, columns.max() // cell) == (21, 21)


def test_in_grey_more_is_always_brighter(image: Image) -> None:
    rising = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    drawn = heat_of(rising, image, side_px=30)
    assert drawn is not None
    grey = np.asarray(drawn.panel.convert("L"), dtype=int)[:20, :30].ravel()
    assert (np.diff(grey) >= 0).all()
    assert grey[0] < 5
    assert grey[-1] > 200


def test_the_words_say_what_it_is_and_that_every_image_has_a_brightest_place(image: Image) -> None:
    made = compose(reading(image, heatmap(row=0, column=0)), side_px=300)
    (words,) = [line.text for line in made.lines if line.text.startswith("Heat map")]
    assert "from 0 to 2" in words
    assert "unremarkable image is bright too" in words
    page = render_report(ReportContent("read", "reading", "now", readings=[reading(image, heatmap(row=1, column=1))]))
    assert 'alt="image: the heat map"' in page
    assert "Heat map: bright" in page


@pytest.mark.parametrize("score", [0.2, 0.8])
def test_a_map_of_what_is_unlike_normal_images_does_not_speak_for_the_answer(image: Image, score: float) -> None:
    answer = Prediction("case", (), {"normal": 1 - score, "ill": score}, heatmap=heatmap(row=0, column=0))
    made = compose(Reading(answer, image, None, "image", knows_only="normal"), side_px=300)
    (words,) = [line.text for line in made.lines if line.text.startswith("Heat map")]
    assert "bright where the image differs from what the model takes for normal, whatever the answer is" in words
    assert "answer comes from" not in words
    assert "from 0 to 2" in words


@pytest.mark.parametrize(("geometry", "word"), [(None, "frame"), (Geometry(np.eye(4)), "slice")])
def test_of_a_volume_the_slice_with_the_brightest_place_is_shown_beside_that_slice_of_the_image(
    geometry: Geometry | None, word: str
) -> None:
    grey = np.zeros((1, 5, 20, 30), dtype=np.float32)
    grey[0, 4] = 200  # the other slices are black
    heat = np.zeros((5, 20, 30), dtype=np.float32)
    heat[2], heat[4, 3, 3] = 0.25, 1.0
    drawn = heat_of(heat, Image(grey, geometry), side_px=300)
    assert drawn is not None
    assert f"{word} 5 of 5 is shown, which has the brightest place of all" in drawn.words
    assert drawn.says == f"{word} 5 and its heat map"
    pixels = np.asarray(drawn.panel.convert("L"))
    assert pixels[60, 75] > 200  # left the slice of the image
    right = np.asarray(Picture.fromarray(pixels[:100, 156:306]).resize((30, 20), Picture.Resampling.BOX))
    assert np.unravel_index(right.argmax(), right.shape) == (3, 3)
    assert right[10, 10] < 5  # nothing of the middle slice


@pytest.mark.parametrize("heat", [None, np.zeros((7, 7), dtype=np.float32)])
def test_without_a_map_of_this_image_there_is_no_picture_of_it(image: Image, heat: np.ndarray | None) -> None:
    assert len(compose(reading(image, heat), side_px=300).panels) == 1


def test_a_map_without_any_heat_is_black_and_no_accident(image: Image) -> None:
    drawn = heat_of(np.zeros((20, 30), dtype=np.float32), image, side_px=300)
    assert drawn is not None
    assert isinstance(drawn.panel, Picture.Image)
    assert np.asarray(drawn.panel)[:300, :290].max() < 10


def test_marks_and_heat_stand_side_by_side(marked: Reading) -> None:
    with_heat = replace(marked, prediction=replace(marked.prediction, heatmap=heatmap(row=2, column=2)))
    made = compose(with_heat, side_px=300)
    assert made.says == ("the image", "the image with the marks", "the heat map")
