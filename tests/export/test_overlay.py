from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from overread.data.manifest import Case
from overread.export.bearings import round_length
from overread.export.display import shown
from overread.export.marking import COLOURS, PREDICTED, TRUE, Sheet, draw_contour, draw_marks, font, wrapped
from overread.export.overlay import NOT_FOR_DIAGNOSIS, compose, draw_overlay, export_overlays, file_names
from overread.export.reading import Reading
from overread.finding import Finding, Mask, Prediction, Region
from overread.image import Geometry, Image


def blank(rows: int, columns: int, factor: int) -> Sheet:
    return Sheet(Picture.new("RGB", (columns * factor, rows * factor), (90, 90, 90)), factor, factor)


def pixels_of(sheet: Sheet, ink: tuple[int, int, int]) -> np.ndarray:
    return (np.asarray(sheet.picture) == ink).all(axis=2)


@pytest.mark.parametrize("width", [2, 4])
def test_the_contour_is_centred_on_the_edges_of_the_masks_pixels(width: int, square: Mask) -> None:
    sheet = blank(20, 30, 10)
    draw_contour(sheet, Finding("tumour", Region.from_mask(square)), PREDICTED, width_px=width)
    half = width // 2
    expected = np.zeros((200, 300), dtype=bool)
    expected[50 - half : 100 + half, 100 - half : 180 + half] = True
    expected[50 + half : 100 - half, 100 + half : 180 - half] = False
    assert (pixels_of(sheet, PREDICTED) == expected).all()


def test_box_and_mask_of_one_region_are_drawn_on_the_same_pixels(square: Mask) -> None:
    by_mask, by_box = blank(20, 30, 8), blank(20, 30, 8)
    draw_contour(by_mask, Finding("tumour", Region.from_mask(square)), PREDICTED, width_px=2)
    draw_contour(by_box, Finding("tumour", Region(square.box)), PREDICTED, width_px=2)
    assert by_mask.picture.tobytes() == by_box.picture.tobytes()


def test_a_mark_on_the_border_of_the_image_is_seen_on_all_sides() -> None:
    sheet = blank(6, 6, 10)
    draw_contour(sheet, Finding("tumour", Region((0, 0, 6, 6))), PREDICTED, width_px=2)
    inked = pixels_of(sheet, PREDICTED)
    assert inked[0].all()
    assert inked[-1].all()
    assert inked[:, 0].all()
    assert inked[:, -1].all()


def test_truth_is_dashed_and_so_told_apart_without_colour(square: Mask) -> None:
    solid, dashed = blank(20, 30, 20), blank(20, 30, 20)
    mark = Finding("tumour", Region.from_mask(square))
    draw_contour(solid, mark, PREDICTED, width_px=2)
    draw_contour(dashed, mark, TRUE, width_px=2, dash_px=8)
    line, dashes = pixels_of(solid, PREDICTED), pixels_of(dashed, TRUE)
    assert not (dashes & ~line).any()
    assert 0.3 < dashes.sum() / line.sum() < 0.8


def test_words_do_not_cover_each_other(square: Mask) -> None:
    sheet = blank(100, 100, 8)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 90, (25, 2))
    marks = [Finding(f"class {i}", Region((x, y, x + 10, y + 10)), 0.5) for i, (x, y) in enumerate(corners)]
    draw_marks(sheet, marks, None)
    assert len(sheet.placed) + len(sheet.wordless) == 25
    assert len(sheet.placed) > 15
    covered = np.zeros((800, 800), dtype=int)
    for left, top, right, bottom in sheet.placed:
        assert left >= 0
        assert top >= 0
        assert right <= 800
        assert bottom <= 800
        covered[round(top) : round(bottom), round(left) : round(right)] += 1
    assert (covered > 1).sum() < 0.05 * (covered > 0).sum()


def test_words_hide_no_mark_where_there_is_room_around() -> None:
    sheet = blank(100, 100, 8)
    stones = [(40, 40), (45, 38), (45, 42), (35, 38), (35, 42), (40, 36), (40, 44)]
    draw_marks(sheet, [Finding("stone", Region((x, y, x + 2, y + 2)), 0.3) for x, y in stones], None)
    assert not sheet.wordless
    for left, top, right, bottom in sheet.placed:
        for x, y in stones:
            assert right <= 8 * x or left >= 8 * (x + 2) or bottom <= 8 * y or top >= 8 * (y + 2)


def test_words_that_stand_far_off_are_joined_with_their_mark_by_a_line() -> None:
    sheet = blank(100, 100, 8)
    inner = Finding("stone", Region((50, 48, 52, 50)), 0.9)
    ring = [(55, 48, 62, 50), (40, 48, 47, 50), (49, 45, 53, 46), (49, 52, 53, 53)]
    draw_marks(sheet, [inner, *(Finding("big", Region(box), 0.3) for box in ring)], None, ("big", "stone"))
    inked = pixels_of(sheet, COLOURS["green"])
    left, top, right, bottom = (round(edge) for edge in sheet.placed[0])
    inked[top : bottom + 1, left : right + 1] = False
    inked[48 * 8 - 2 : 50 * 8 + 2, 50 * 8 - 2 : 52 * 8 + 2] = False
    assert inked.sum() >= 8
    for line in sheet.leaders:
        for x0, y0, x1, y1 in ring:
            assert line[2] <= 8 * x0 or line[0] >= 8 * x1 or line[3] <= 8 * y0 or line[1] >= 8 * y1


@pytest.mark.parametrize("pixels", [4, 8, 11])
def test_the_line_around_a_small_mark_leaves_its_inside_to_be_seen(pixels: int) -> None:
    sheet = blank(40, 40, 1)
    draw_contour(sheet, Finding("stone", Region((10, 10, 10 + pixels, 10 + pixels))), PREDICTED, width_px=3)
    inside = np.asarray(sheet.picture)[11 : 10 + pixels, 11 : 10 + pixels]
    assert (inside == 90).all()


def test_each_class_has_a_colour_of_its_own_that_the_lines_name(image: Image) -> None:
    cells = (Finding("WBC", Region((2, 2, 8, 8)), 0.9), Finding("RBC", Region((15, 9, 20, 15)), 0.8))
    reading = Reading(Prediction("a", cells), image, None, "a", classes=("Platelets", "RBC", "WBC"))
    made = compose(reading, side_px=600)
    drawn = np.asarray(made.panels[1])
    legend = [(line.text, line.ink) for line in made.lines if line.kind == "class"]
    assert legend == [("RBC: green", COLOURS["green"]), ("WBC: yellow", COLOURS["yellow"])]
    assert (drawn[2 * 20, 2 * 20 : 8 * 20] == COLOURS["yellow"]).all()
    assert (drawn[9 * 20, 15 * 20 : 20 * 20] == COLOURS["green"]).all()
    assert TRUE not in COLOURS.values()


def test_with_one_class_the_line_of_the_model_is_the_legend(marked: Reading) -> None:
    tumour = replace(marked, prediction=replace(marked.prediction, findings=marked.prediction.findings[:1]))
    kinds = [line.kind for line in compose(tumour, side_px=200).lines]
    assert "predicted" in kinds
    assert "class" not in kinds


def test_among_many_marks_the_truth_has_a_picture_of_its_own_with_the_missed_ones_framed(image: Image) -> None:
    cells = [Finding("cell", Region((c, r, c + 2, r + 2))) for r in range(1, 19, 4) for c in range(1, 29, 5)]
    found = tuple(replace(cell, score=0.9) for cell in cells[1:])
    case = Case("a", "a", (), marks=tuple(cells))
    made = compose(Reading(Prediction("a", found), image, case, "a"), side_px=600)
    plain, model, truth = (np.asarray(panel) for panel in made.panels)
    assert not (model == TRUE).all(axis=2).any()
    assert not (truth == PREDICTED).all(axis=2).any()
    framed = (truth[: 4 * 20, : 4 * 20] == TRUE).all(axis=2)
    others = (truth[: 4 * 20, 5 * 20 : 9 * 20] == TRUE).all(axis=2)
    assert framed[20:60, 20:60].sum() == others[20:60, 20:60].sum() > 0
    assert framed.sum() > 2 * others.sum()
    assert (plain[20:60, 20:60] == truth[20:60, 20:60])[4:-4, 4:-4].all()
    assert any(line.text == "Truth: 30 marks (30 cell); framed: 1 missed (IoU below 0.5)" for line in made.lines)


def test_too_many_marks_are_drawn_without_words_and_counted(image: Image) -> None:
    cells = [Finding("cell", Region((c, r, c + 1, r + 1)), 0.9) for r in range(0, 20, 3) for c in range(0, 30, 4)]
    rare = Finding("mitosis", Region((10, 10, 14, 14)), 0.8)
    reading = Reading(Prediction("a", (*cells, rare)), image, None, "a")
    lines = [line.text for line in compose(reading, side_px=900).lines]
    assert any("for lack of room: 56 cell" in line for line in lines)
    assert not any("mitosis" in line for line in lines if "lack of room" in line)


def test_the_plain_image_stands_left_of_the_marked_one(marked: Reading) -> None:
    plain, drawn = (np.asarray(panel) for panel in compose(marked, side_px=600).panels)
    assert plain.shape == drawn.shape == (400, 600, 3)
    assert not (plain == PREDICTED).all(axis=2).any()
    assert (drawn == PREDICTED).all(axis=2).any()
    assert (drawn == TRUE).all(axis=2).any()


def test_the_lines_say_answer_truth_grey_scale_and_use(labelled: Callable[..., Reading]) -> None:
    reading = replace(labelled(1, 0.8749, "benign"), simulated=True)
    lines = [line.text for line in compose(reading, side_px=200).lines]
    assert lines[0] == "image 1"
    assert "SIMULATED IMAGE - says nothing about patients" in lines
    assert "Model: malignant 0.87 (others: benign 0.13)" in lines
    assert "Truth: benign" in lines
    assert any(line.startswith("Shown: ") for line in lines)
    assert lines[-1] == NOT_FOR_DIAGNOSIS


def test_nothing_found_is_said_in_words(image: Image) -> None:
    lines = [line.text for line in compose(Reading(Prediction("a"), image, None, "a"), side_px=200).lines]
    assert "Model: no marks - that does not mean no disease" in lines


def test_a_picture_alone_says_which_model_marked_from_which_score_on(marked: Reading, image: Image) -> None:
    lines = [line.text for line in compose(replace(marked, model="stones-3", threshold=0.294), side_px=200).lines]
    assert "Model stones-3 (marks from score 0.29 on): 2 marks (1 cyst, 1 tumour)" in lines
    nothing = Reading(Prediction("a"), image, None, "a", model="stones-3", threshold=0.294)
    lines = [line.text for line in compose(nothing, side_px=200).lines]
    assert "Model stones-3 (marks from score 0.29 on): no marks - that does not mean no disease" in lines


def white_in(panel: Picture.Image, left: float, top: float, right: float, bottom: float) -> int:
    """White pixels of a part of a panel, the edges given as shares of it."""
    cut = panel.crop((round(left * panel.width), round(top * panel.height), round(right * panel.width),
                      round(bottom * panel.height)))  # fmt: skip
    return int((np.asarray(cut) == 255).all(axis=2).sum())


def test_the_patients_sides_stand_at_the_left_and_the_top_edge_where_the_file_says_them() -> None:
    dark = np.zeros((1, 40, 40), dtype=np.float32)
    marks = (Finding("x", Region((10, 10, 20, 20)), 0.9),)
    silent = compose(Reading(Prediction("a", marks), Image(dark), None, "a"), side_px=400)
    stated = compose(Reading(Prediction("a", marks), Image(dark, sides=("L", "F")), None, "a"), side_px=400)
    for panel, unsaid in zip(stated.panels, silent.panels, strict=True):
        assert white_in(panel, 0, 0.4, 0.1, 0.6) > 0
        assert white_in(panel, 0.4, 0, 0.6, 0.1) > 0
        assert white_in(panel, 0.5, 0.8, 1, 1) == 0  # no scale without millimetres
        assert white_in(unsaid, 0, 0, 1, 1) == 0


def left_and_top(sides: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a picture in which the letters of its left and its top edge stand."""
    image = Image(np.zeros((1, 40, 40), dtype=np.float32), sides=sides)
    (panel,) = compose(Reading(Prediction("a"), image, None, "a"), side_px=400).panels
    pixels = np.asarray(panel)
    return pixels[160:240, :40], pixels[:40, 160:240]


def test_each_edge_has_the_letter_of_its_own_side() -> None:
    left, top = left_and_top(("L", "F"))
    left_turned, top_turned = left_and_top(("R", "F"))
    assert (left != left_turned).any()
    assert (top == top_turned).all()
    left_upside, top_upside = left_and_top(("L", "H"))
    assert (left == left_upside).all()
    assert (top != top_upside).any()


@pytest.mark.parametrize(
    ("runs_to", "at_the_edges"), [(("L", "F"), ("R", "H")), (("R", "H"), ("L", "F")), (("P", "F"), ("A", "H"))]
)
def test_the_letter_at_an_edge_is_the_side_that_rows_and_columns_come_from(
    runs_to: tuple[str, str], at_the_edges: tuple[str, str]
) -> None:
    view = shown(Image(np.zeros((1, 9, 9)), sides=runs_to))
    assert (view.left, view.top) == at_the_edges


@pytest.mark.parametrize(("sign", "letter"), [(1, "R"), (-1, "L")])
def test_a_mirrored_acquisition_has_its_letters_mirrored(sign: int, letter: str) -> None:
    view = shown(Image(np.zeros((1, 9, 9)), geometry=Geometry(np.diag([sign, 1.0, 1, 1]))))
    assert (view.left, view.top) == (letter, "A")


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    image = Image(np.zeros((1, 100, 100)), geometry=Geometry(np.diag([0.75, 0.75, 1, 1])))
    (panel,) = compose(Reading(Prediction("a"), image, None, "a"), side_px=1000).panels
    rows = (np.asarray(panel) == 255).all(axis=2).sum(axis=1)
    assert round_length(75 / 5) == 10
    assert rows[-20:].max() == round(10 / 0.75 * 10) + 1


def test_marks_on_a_volume_are_said_not_to_be_drawn() -> None:
    volume = Image(np.random.default_rng(0).random((1, 4, 8, 8)))
    made = compose(Reading(Prediction("a", (Finding("x", Region((0, 0, 2, 2))),)), volume, None, "a"), side_px=100)
    assert len(made.panels) == 1
    assert any("not drawn" in line.text for line in made.lines)


def test_a_refused_image_gets_a_card_with_the_reason(refused: Reading) -> None:
    made = compose(refused, side_px=200)
    assert made.panels == ()
    assert any(line.kind == "alarm" and "at least 32 x 32" in line.text for line in made.lines)
    assert draw_overlay(refused, side_px=400).width > 100


def test_no_text_is_clipped_however_long_it_is() -> None:
    letters = font(14)
    text = "adenocarcinoma " * 5 + "x" * 90
    lines = wrapped(text, letters, 120)
    assert all(letters.getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("case_id", ["../../x", "/abs/x", "a\\b", "con:x", "..", "ä ö", "x" * 300])
def test_file_names_stay_inside_the_folder(tmp_path: Path, image: Image, case_id: str) -> None:
    (path,) = export_overlays([Reading(Prediction(case_id), image, None, "a")], tmp_path)
    assert path.parent == tmp_path
    assert path.is_file()


def test_no_overlay_hides_another() -> None:
    names = file_names(["a b", "A_b", "a/b", "a_b-2"])
    assert len({name.casefold() for name in names}) == 4


def test_when_one_picture_fails_none_is_left(tmp_path: Path, marked: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mask, "to_array", lambda _: (_ for _ in ()).throw(MemoryError()))
    good = Reading(Prediction("a"), marked.image, None, "a")
    with pytest.raises(MemoryError):
        export_overlays([good, marked], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_contours_of_real_nuclei_lie_between_nucleus_and_background(real_data: Path) -> None:
    path = sorted((real_data / "dsb2018" / "images").glob("*.png"))[0]
    labels = np.asarray(Picture.open(real_data / "dsb2018" / "labels" / path.name))
    pixels = np.moveaxis(np.asarray(Picture.open(path).convert("RGB"), dtype=np.float32), 2, 0)
    marks = tuple(
        Finding("nucleus", Region.from_mask(Mask.from_array(labels == n)), 0.9) for n in np.unique(labels)[1:]
    )
    case = Case("n", "n", (), marks=marks)
    rows, columns = labels.shape
    sheet = Sheet(Picture.new("RGB", (columns * 4, rows * 4)), 4, 4)
    for mark in marks:
        draw_contour(sheet, mark, PREDICTED, width_px=2)
    large = np.pad(labels, 1, mode="edge").repeat(4, axis=0).repeat(4, axis=1)
    for row, column in np.argwhere(pixels_of(sheet, PREDICTED))[::97]:
        around = large[row + 2 : row + 7, column + 2 : column + 7]
        at_border = row < 2 or column < 2 or row >= rows * 4 - 2 or column >= columns * 4 - 2
        assert len(np.unique(around)) > 1 or at_border
    reading = Reading(Prediction("n", marks), Image(pixels), case, "n")
    assert draw_overlay(reading, side_px=2 * columns).width >= 4 * columns


def test_a_picture_alone_says_what_makes_its_answer_worth_little() -> None:
    reading = Reading(Prediction("a", scores={"ill": 0.9, "well": 0.1}), None, None, "a.png")

    def alarms(**facts: bool) -> list[str]:
        lines = compose(replace(reading, **facts), side_px=64).lines
        return [line.text for line in lines if line.kind == "alarm"]

    assert alarms() == []
    assert alarms(learned_from=True) == ["The model learned from this very image - its answer is no test"]
    (said,) = alarms(model_simulated=True)
    assert said.startswith("The model learned from SIMULATED images")
    (said,) = alarms(model_simulated=True, simulated=True)
    assert said.startswith("SIMULATED IMAGE")
