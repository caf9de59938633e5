"""A model that restores is tested with noise that is always the same."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from overread.data.manifest import Case, ImageRef
from overread.inference.predictor import Ensemble, FreshImages, Network
from overread.inference.restoring import SHOWN_NOISE, examined, restored_example
from overread.models.contract import Shape, models
from overread.preprocessing.geometry import Resize
from overread.preprocessing.step import Step


def cases(folder: Path, n: int = 3, side: int = 48) -> list[Case]:
    made = []
    for number in range(n):
        rows, columns = np.mgrid[:side, :side]
        pixels = (128 + 100 * np.sin(rows / 5 + number) * np.cos(columns / 4)).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number}.png")
        made.append(Case(f"{number}", f"{number}", (ImageRef(folder / f"{number}.png"),)))
    return made


def denoiser(*steps: Step) -> Ensemble:
    family = models.get("autoencoder")
    model = family.build(family.Settings(width=4, depth=2), Shape("reconstruction", (), 1))
    return Ensemble((Network(model, steps),), "reconstruction", (), 1)


def test_each_case_gets_a_quality_at_each_strength_of_noise_and_no_picture(tmp_path: Path) -> None:
    found = list(examined(denoiser(), cases(tmp_path), FreshImages(), seed=1))
    assert [one.case_id for one in found] == ["0", "1", "2"]
    for one in found:
        assert len(one.quality) == 12
        assert one.restored is None
        # noise of a tenth of the range is 20 dB by definition
        assert one.quality["psnr_db_noisy_at_noise_0.1"] == pytest.approx(20, abs=0.5)
        assert one.quality["ssim_noisy_at_noise_0.05"] > one.quality["ssim_noisy_at_noise_0.2"]


def test_the_noise_of_a_case_hangs_on_the_case_and_the_seed_alone(tmp_path: Path) -> None:
    all_ = cases(tmp_path)
    first = list(examined(denoiser(), all_, FreshImages(), seed=1))
    alone = list(examined(denoiser(), all_[1:2], FreshImages(), seed=1))
    other = list(examined(denoiser(), all_[1:2], FreshImages(), seed=2))
    name = "psnr_db_noisy_at_noise_0.1"
    assert first[1].quality[name] == alone[0].quality[name] != other[0].quality[name]


def test_noise_is_added_to_the_prepared_image_and_that_is_what_is_compared(tmp_path: Path) -> None:
    (case,) = cases(tmp_path, 1)
    clean, noisy, restored = restored_example(denoiser(Resize(height=30, width=40)), case, FreshImages(), seed=1)
    assert clean.shape == noisy.shape == restored.shape == (30, 40)
    share = float(np.std(noisy.pixels - clean.pixels) / np.ptp(clean.pixels))
    assert share == pytest.approx(SHOWN_NOISE, rel=0.1)


def test_an_image_too_small_to_be_measured_is_refused_by_name_and_the_others_go_on(tmp_path: Path) -> None:
    small = Case("small", "small", (ImageRef(tmp_path / "small.png"),))
    Picture.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "small.png")
    first, second = examined(denoiser(), [small, *cases(tmp_path, 1)], FreshImages(), seed=1)
    assert "11 x 11 px" in (first.refused or "")
    assert second.refused is None
