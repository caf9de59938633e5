"""Volumes and sequences from DATA to reports and readings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

SLICES, SIDE = 9, 16


def volume(number: int) -> Any:
    """Dim noise, and in every second volume a bright ball."""
    pixels = np.random.default_rng(number).integers(0, 60, (SLICES, SIDE, SIDE))
    if number % 2:
        pixels[3:6, 5:11, 5:11] = 220
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def volumes(journey: Path) -> Path:
    """20 volumes in the layout of MedMNIST, and 2 others as files of several pages to be read."""
    folder = journey / "volumes"
    (folder / "new").mkdir(parents=True)
    parts = {"train": range(16), "val": range(16, 20)}
    arrays = {f"{part}_images": np.stack([volume(n) for n in numbers]) for part, numbers in parts.items()}
    arrays |= {f"{part}_labels": np.array([[n % 2] for n in numbers], np.uint8) for part, numbers in parts.items()}
    np.savez(folder / "balls.npz", **arrays)
    for number in range(20, 22):
        first, *others = [Image.fromarray(page) for page in volume(number)]
        first.save(folder / "new" / f"{number}.tif", save_all=True, append_images=others)
    recipe = (journey / "cnn.toml").read_text().replace('family = "cnn"', 'family = "lstm"\nwidth = 4\nhidden = 8')
    (folder / "lstm.toml").write_text(recipe)
    return folder


@pytest.fixture(scope="module")
def run(overread: Any, volumes: Path) -> Path:
    said = overread("train", volumes / "lstm.toml", volumes / "balls.npz", "--out", volumes / "run")
    assert said.code == 0, said.err
    return volumes / "run"


def test_a_look_at_the_data_says_that_they_are_volumes(overread: Any, volumes: Path) -> None:
    assert "9 slices of 16 x 16 (20)" in overread("inspect", volumes / "balls.npz").out


def test_the_run_says_what_each_slice_speaks_for(run: Path) -> None:
    table = pd.read_csv(run / "frame_scores.csv")
    assert len(table) == 20 * SLICES
    assert table["slice"].tolist()[:SLICES] == list(range(1, SLICES + 1))
    assert table["score_1"].between(0, 1).all()
    page = (run / "report.html").read_text()
    assert "Shown: 9 frames" in page
    assert "Shown: slice" not in page


def test_a_reading_of_volumes_pictures_and_scores_their_slices(overread: Any, run: Path, volumes: Path) -> None:
    said = overread("read", run, volumes / "new", "--out", volumes / "read")
    assert said.code == 0, said.err
    written = {path.name for path in (volumes / "read").iterdir()}
    assert written == {"predictions.json", "frame_scores.csv", "report.html", "20.png", "21.png"}
    for one in json.loads((volumes / "read" / "predictions.json").read_text())["predictions"]:
        assert {len(scores) for scores in one["frame_scores"].values()} == {SLICES}


def test_a_slice_alone_is_no_volume(overread: Any, run: Path, tmp_path: Path) -> None:
    Image.fromarray(volume(21)[4]).save(tmp_path / "slice.png")
    said = overread("read", run, tmp_path / "slice.png", "--out", tmp_path / "out")
    assert said.code == 1
    assert "one flat image alone" in said.err


def test_slices_that_were_resized_are_scored_in_the_slices_of_the_file(overread: Any, run: Path, volumes: Path) -> None:
    step = '[[preprocessing.steps]]\nstep = "resize"\nheight = 16\nwidth = 16\nslices = 4\n[model]'
    recipe = (volumes / "lstm.toml").read_text().replace("[model]", step).replace("epochs = 2", "epochs = 1")
    (volumes / "four.toml").write_text(recipe)
    assert overread("train", volumes / "four.toml", volumes / "balls.npz", "--out", volumes / "four").code == 0
    assert len(pd.read_csv(volumes / "four" / "frame_scores.csv")) == 20 * SLICES


def test_convolutions_over_volumes_are_trained_and_read_and_score_no_slices(overread: Any, volumes: Path) -> None:
    recipe = (
        (volumes / "lstm.toml")
        .read_text()
        .replace('"lstm"\nwidth = 4\nhidden = 8', '"cnn"\nbackbone = "resnet10"\nwidth = 0.1')
    )
    (volumes / "cnn.toml").write_text(recipe)
    said = overread("train", volumes / "cnn.toml", volumes / "balls.npz", "--out", volumes / "cnn")
    assert said.code == 0, said.err
    assert overread("read", volumes / "cnn", volumes / "new", "--out", volumes / "cnn-read").code == 0
    assert not (volumes / "cnn-read" / "frame_scores.csv").exists()
    assert "Shown: 9 frames" in (volumes / "cnn-read" / "report.html").read_text()


def test_an_evaluation_of_volumes_has_the_same_tables(overread: Any, run: Path, volumes: Path) -> None:
    said = overread("evaluate", run, volumes / "balls.npz", "--split", "val", "--out", volumes / "eval")
    assert said.code == 0, said.err
    assert len((volumes / "eval" / "frame_scores.csv").read_text().splitlines()) == 1 + 4 * SLICES


CLIP = Path("dicom", "burned_in_text", "ultrasound_65_frames.dcm")
MR = Path("dicom", "enhanced_mr", "In", "Siemens", "XA10", "6_1.dcm")
FITTED = """[[preprocessing.steps]]
step = "grey"
[[preprocessing.steps]]
step = "resize"
height = 16
width = 16
[[preprocessing.steps]]"""


@pytest.mark.data
@pytest.mark.parametrize("family", ["rnn", "lstm", "gru"])
def test_every_recurrent_family_scores_each_frame_of_a_real_clip_and_each_slice_of_a_real_enhanced_mr(
    family: str, overread: Any, volumes: Path, real_data: Path, tmp_path: Path
) -> None:
    text = (volumes / "lstm.toml").read_text().replace('"lstm"', f'"{family}"').replace("epochs = 2", "epochs = 1")
    (tmp_path / "recipe.toml").write_text(text.replace("[[preprocessing.steps]]", FITTED, 1))
    said = overread("train", tmp_path / "recipe.toml", volumes / "balls.npz", "--out", tmp_path / "run")
    assert said.code == 0, said.err
    said = overread("read", tmp_path / "run", real_data / CLIP, real_data / MR, "--out", tmp_path / "read")
    assert said.code == 0, said.err
    table = pd.read_csv(tmp_path / "read" / "frame_scores.csv").set_index("case_id")
    told = json.loads((tmp_path / "read" / "predictions.json").read_text())["predictions"]
    assert [one["source"] for one in told] == [CLIP.name, MR.name]
    for one, frames in zip(told, (65, 6), strict=True):
        rows = table.loc[one["case_id"]]
        assert rows["slice"].tolist() == list(range(1, frames + 1))
        assert rows["score_1"].nunique() > 1
        assert rows["score_1"].tolist() == pytest.approx(one["frame_scores"]["1"], abs=1e-6)
        assert rows["score_1"].min() <= one["scores"]["1"] <= rows["score_1"].max()  # the mean of what frames say
    page = (tmp_path / "read" / "report.html").read_text()
    assert f'alt="{CLIP.name}: the score of each frame' in page
    assert f'alt="{MR.name}: the score of each slice' in page
    assert "Shown: frames 1, 4, 7 ... 64 of 65" in page
    assert "Shown: 6 slices" in page


@pytest.mark.data
def test_a_real_clip_in_colour_and_a_real_mr_of_another_size_are_refused_by_a_model_that_they_do_not_fit(
    overread: Any, run: Path, real_data: Path, tmp_path: Path
) -> None:
    said = overread("read", run, real_data / CLIP, real_data / MR, "--out", tmp_path / "out")
    assert said.code == 1
    clip, mr = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert "this is a colour image" in clip["refused"]
    assert "step 'grey'" in clip["refused"]
    assert "64 x 64 px; what it learned from had sides of 16 px" in mr["refused"]
    assert "step 'resize'" in mr["refused"]
    assert clip["scores"] == mr["scores"] == {}
    assert not (tmp_path / "out" / "frame_scores.csv").exists()
