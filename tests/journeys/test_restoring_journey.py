"""From images to a model that takes their noise away, through the same commands."""

import csv
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def seen(page: Path) -> str:
    """What a person reads on a page."""
    text = re.sub(r"<style>.*?</style>", "", page.read_text(), flags=re.S)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def told(folder: Path) -> dict[tuple[str, str | None], dict[str, Any]]:
    rows = json.loads((folder / "evaluation.json").read_text())["estimates"]
    return {(row["metric"], row["subgroup"]): row for row in rows}


def test_strong_noise_is_taken_away_from_images_that_were_never_seen(restorer: Path) -> None:
    found = told(restorer)
    after, before = (found[name, "noise of 20%"] for name in ("psnr_db", "psnr_db_noisy"))
    assert after["low"] > before["high"] + 1
    assert all(row["n_cases"] == 16 and row["low"] <= row["value"] <= row["high"] for row in found.values())


def test_the_numbers_can_be_computed_again_from_the_table(restorer: Path) -> None:
    with open(restorer / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    again = np.mean([float(row["ssim_at_noise_0.1"]) for row in rows])
    assert told(restorer)["ssim", "noise of 10%"]["value"] == pytest.approx(again)
    assert {row["fold"] for row in rows} == {"0", "1"}


def test_the_command_says_how_good_it_is_and_no_image_is_positive(overread: Any, restorer: Path, discs: Path) -> None:
    said = overread("train", restorer.parent / "denoiser.toml", discs, "--out", restorer)
    assert "SSIM, restored: " in said.out
    assert "positive" not in said.out


def test_the_report_shows_images_before_and_after_and_speaks_of_no_class(restorer: Path) -> None:
    page = seen(restorer / "report.html")
    assert "noise of 10%: SSIM from 0." in page
    assert "From left to right: the image, with noise, restored" in page
    assert "Truth the images themselves" in page
    for word in ("ROC", "taken for what", "Class", "positive", "Positive", "not the probability"):
        assert word not in page, word
    assert "it can draw what is not there" in page


def test_a_denoiser_is_measured_on_other_data(overread: Any, restorer: Path, discs: Path, tmp_path: Path) -> None:
    said = overread("evaluate", restorer, discs, "--out", tmp_path / "eval")
    assert said.code == 0, said.err
    assert "16 of 16 images were seen in training" in said.err
    assert told(tmp_path / "eval")["psnr_db", None]["n_cases"] == 16


def test_a_denoiser_that_makes_images_worse_is_said_to_before_any_number_wherever_it_is_met(
    overread: Any, restorer: Path, discs: Path, tmp_path: Path
) -> None:
    recipe = (restorer.parent / "denoiser.toml").read_text()
    unlearned = re.sub(r"epochs = \d+", "epochs = 1", re.sub(r"learning_rate = .*", "learning_rate = 1e-9", recipe))
    (tmp_path / "bad.toml").write_text(unlearned)
    trained = overread("train", tmp_path / "bad.toml", discs, "--out", tmp_path / "bad")
    tested = overread("evaluate", tmp_path / "bad", discs, "--out", tmp_path / "eval")
    used = overread("read", tmp_path / "bad", discs / "images" / "03.png", "--out", tmp_path / "read")
    found = told(tmp_path / "bad")
    assert found["ssim", "noise of 5%"]["value"] < found["ssim_noisy", "noise of 5%"]["value"]
    for said, run in ((trained, "bad"), (tested, "eval"), (used, "read")):
        assert "This model makes images with noise of 5% worse: SSIM from 0." in said.err
        page = seen(tmp_path / run / "report.html")
        assert 0 < page.index("images with noise of 5% worse: SSIM from 0.") < page.index("noise of 5%: SSIM from 0.")


def test_a_denoiser_that_helps_at_all_strengths_of_noise_is_not_warned_of(restorer: Path) -> None:
    found = told(restorer)
    helps = [
        noise
        for noise in ("noise of 5%", "noise of 10%", "noise of 20%")
        if all(found[name, noise]["value"] > found[f"{name}_noisy", noise]["value"] for name in ("ssim", "psnr_db"))
    ]
    assert helps
    assert not any(f"{noise} worse" in seen(restorer / "report.html") for noise in helps)


def test_a_reading_shows_the_restored_image_beside_the_one_that_was_given(
    overread: Any, restorer: Path, discs: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    with Image.open(discs / "images" / "03.png") as picture:
        clean = np.asarray(picture, dtype=float)
    noisy = (clean + rng.normal(0, 30, clean.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "new.png")
    said = overread("read", restorer, tmp_path / "new.png", "--out", tmp_path / "read")
    assert said.code == 0, said.err
    (answer,) = json.loads((tmp_path / "read" / "predictions.json").read_text())["predictions"]
    assert (answer["scores"], answer["predicted_class"], answer["findings"]) == ({}, None, [])
    with Image.open(tmp_path / "read" / "new.png") as page:
        pixels = np.asarray(page.convert("L"), dtype=float)
    left, right = pixels[10:1024, 10:1000], pixels[10:1024, -1000:-10]
    rough = [np.abs(np.diff(side[:, ::16], axis=1)).mean() for side in (left, right)]
    assert rough[1] < 0.7 * rough[0]  # neighbours differ less
    assert abs(left.mean() - right.mean()) < 15  # in one grey scale
    page_words = seen(tmp_path / "read" / "report.html")
    assert "restored; nothing is said about disease" in page_words
    assert "no marks" not in page_words
    assert "SSIM from" in page_words


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('[model]\nfamily = "cnn"', "Choose autoencoder"),
        ('[model]\nfamily = "autoencoder"\n[inference]\nmirrored = true', "restored images"),
        ('[model]\nfamily = "autoencoder"\n[[preprocessing.steps]]\nstep = "z-score"\nscope = "training"', "own"),
    ],
)
def test_a_recipe_that_cannot_restore_is_refused_before_anything_is_learned(
    line: str, why: str, overread: Any, discs: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong.toml").write_text(f'name = "wrong"\n[data]\ntruth = "images"\nfolds = 2\n{line}\n')
    said = overread("train", tmp_path / "wrong.toml", discs, "--out", tmp_path / "run")
    assert said.code != 0
    assert why in said.err
    assert not (tmp_path / "run" / "bundle").exists()
