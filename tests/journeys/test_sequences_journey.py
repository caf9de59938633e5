"""Examinations of several image files, tied by a table: from DATA to readings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SLICES = 6


def examination(folder: Path, number: int) -> list[str]:
    """Dim slices, of which one shows something bright in every second examination; their names in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, names = np.random.default_rng(number), []
    for slice_ in range(SLICES):
        pixels = rng.integers(0, 90, (16, 16)).astype(np.uint8)
        if number % 2 and slice_ == 3:
            pixels[4:10, 4:10] = 230
        pixels[0, :2] = 0, 255  # each slice has the range of all, as files of one image are prepared one by one
        names.append(f"{number:02}_{slice_}.png")
        Image.fromarray(pixels).save(folder / names[-1])
    return names


def table(folder: Path, numbers: range, *, labels: bool) -> Path:
    """A table of so many examinations, whose rows stand in no order."""
    rows = [
        f"{name},e{number},{slice_}" + f",{['no', 'yes'][number % 2]}" * labels
        for number in numbers
        for slice_, name in enumerate(examination(folder / "images", number))
    ]
    lines = ["file,case,slice" + ",label" * labels, *np.random.default_rng(0).permutation(rows)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def answers_in(folder: Path) -> dict[str, Any]:
    return {one["source"]: one for one in json.loads((folder / "predictions.json").read_text())["predictions"]}


@pytest.fixture(scope="module")
def examinations(journey: Path) -> Path:
    return table(journey / "examinations", range(20), labels=True)


@pytest.fixture(scope="module")
def run(overread: Any, journey: Path, examinations: Path) -> Path:
    recipe = (journey / "cnn.toml").read_text().replace('family = "cnn"', 'family = "lstm"\nwidth = 4\nhidden = 8')
    (journey / "sequences.toml").write_text(recipe)
    said = overread("train", journey / "sequences.toml", examinations, "--out", journey / "sequences-run")
    assert said.code == 0, said.err
    return journey / "sequences-run"


def test_slices_of_an_examination_are_not_answered_as_examinations(overread: Any, run: Path, tmp_path: Path) -> None:
    names = [*examination(tmp_path / "new", 30), *examination(tmp_path / "new", 31)]
    said = overread("read", run, tmp_path / "new", "--out", tmp_path / "out")
    assert said.code == 1
    answers = answers_in(tmp_path / "out")
    assert sorted(answers) == sorted(names)
    for one in answers.values():
        assert "one flat image alone" in one["refused"]
        assert "'case'" in one["refused"]


@pytest.mark.parametrize("named", ["the table", "its folder"])
def test_examinations_that_a_table_ties_are_read_whole_and_in_order(
    named: str, overread: Any, run: Path, tmp_path: Path
) -> None:
    new = table(tmp_path / "new", range(30, 32), labels=False)
    said = overread("read", run, new if named == "the table" else new.parent, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    answers = answers_in(tmp_path / "out")
    assert sorted(answers) == ["e30", "e31"]
    assert {len(scores) for one in answers.values() for scores in one["frame_scores"].values()} == {SLICES}
    assert {"e30.png", "e31.png"} < {path.name for path in (tmp_path / "out").iterdir()}


def test_the_same_examination_is_answered_alike_as_a_table_and_as_one_file(
    overread: Any, run: Path, tmp_path: Path
) -> None:
    new = table(tmp_path / "new", range(31, 32), labels=False)
    first, *others = [Image.open(new.parent / "images" / f"31_{slice_}.png") for slice_ in range(SLICES)]
    first.save(tmp_path / "e31.tif", save_all=True, append_images=others)
    said = overread("read", run, new, tmp_path / "e31.tif", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    answers = answers_in(tmp_path / "out")
    assert answers["e31"]["scores"] == pytest.approx(answers["e31.tif"]["scores"], abs=1e-5)


def test_an_examination_of_which_an_image_is_missing_is_refused_and_the_others_are_read(
    overread: Any, run: Path, tmp_path: Path
) -> None:
    new = table(tmp_path / "new", range(30, 32), labels=False)
    (new.parent / "images" / "30_2.png").unlink()
    said = overread("read", run, new, "--out", tmp_path / "out")
    assert said.code == 1
    answers = answers_in(tmp_path / "out")
    assert "30_2.png" in answers["e30"]["refused"]
    assert answers["e30"]["scores"] == {}
    assert answers["e31"]["refused"] is None


def test_one_examination_that_is_called_1_is_one(overread: Any, run: Path, tmp_path: Path) -> None:
    rows = [f"{name},1,{slice_}" for slice_, name in enumerate(examination(tmp_path / "new", 30))]
    (tmp_path / "new" / "t.csv").write_text("\n".join(["file,case,order", *rows]))
    assert overread("read", run, tmp_path / "new", "--out", tmp_path / "out").code == 0
    assert list(answers_in(tmp_path / "out")) == ["1"]


def test_whose_order_is_not_known_is_said_before_the_answers(overread: Any, run: Path, tmp_path: Path) -> None:
    rows = [f"{name},e30" for name in examination(tmp_path / "new", 30)]
    (tmp_path / "new" / "t.csv").write_text("\n".join(["file,case", *rows]))
    said = overread("read", run, tmp_path / "new" / "t.csv", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "the table's order was taken" in said.err
    assert "order was taken" in (tmp_path / "out" / "report.html").read_text()


def test_examinations_that_the_model_learned_from_are_told(
    overread: Any, run: Path, examinations: Path, tmp_path: Path
) -> None:
    said = overread("read", run, examinations, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert all(one["learned_from"] for one in answers_in(tmp_path / "out").values())
