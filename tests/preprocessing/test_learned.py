"""A trained denoiser as a step."""

from pathlib import Path

import numpy as np
import pytest

from overread.errors import InputError
from overread.image import Image, Source
from overread.inference.predictor import Ensemble, Network
from overread.inference.restoring import TrainedDenoiser
from overread.models.contract import Shape, models
from overread.preprocessing.learned import DenoiseLearned, opened

ID, OTHER = "0a1b2c3d4e5f", "ffffffffffff"


def image(*shape: int) -> Image:
    pixels = np.random.default_rng(0).normal(300, 40, shape).astype(np.float32)
    return Image(pixels, units="HU", source=Source("scan"))


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DenoiseLearned:
    """A step with an untrained network behind it, which gives back something near its image."""
    family = models.get("autoencoder")
    model = family.build(family.Settings(width=4, depth=2), Shape("reconstruction", (), 1))
    ensemble = Ensemble((Network(model, ()), Network(model, ())), "reconstruction", (), 1)
    monkeypatch.setitem(opened, ID, TrainedDenoiser(ensemble, ID, "cleaner", frozenset()))
    return DenoiseLearned(bundle="runs/cleaner", bundle_id=ID)


def test_an_image_keeps_its_units_and_its_scale(step: DenoiseLearned) -> None:
    before = image(1, 20, 24)
    after = step(before)
    assert (after.units, after.shape) == ("HU", before.shape)
    assert not np.array_equal(after.pixels, before.pixels)
    assert 200 < after.pixels.mean() < 400
    twice = step(before.with_pixels(2 * before.pixels - 1000, by="other units"))
    np.testing.assert_allclose(twice.pixels, 2 * after.pixels - 1000, rtol=1e-3, atol=0.1)


def test_an_image_without_any_difference_is_given_back(step: DenoiseLearned) -> None:
    flat = Image(np.full((1, 16, 16), 7.0, np.float32))
    assert np.array_equal(step(flat).pixels, flat.pixels)


@pytest.mark.parametrize(
    ("shape", "why"),
    [((3, 20, 20), "scan: the denoiser 'cleaner' .* grey images"), ((1, 4, 20, 20), "takes flat images; .* volumes")],
)
def test_an_image_of_another_kind_is_refused(step: DenoiseLearned, shape: tuple[int, ...], why: str) -> None:
    with pytest.raises(InputError, match=why):
        step(image(*shape))


def test_a_step_that_knows_its_denoiser_takes_no_other(step: DenoiseLearned) -> None:
    other = DenoiseLearned(bundle="runs/cleaner", bundle_id=OTHER)
    with pytest.raises(InputError, match=f"holds the denoiser {ID}; this step was made with {OTHER}"):
        other.made_with(opened[ID])
    with pytest.raises(InputError, match=f"{OTHER} was not opened"):
        other(image(1, 20, 20))


def test_a_denoiser_that_is_called_by_a_path_in_its_id_is_refused() -> None:
    with pytest.raises(ValueError, match="bundle_id"):
        DenoiseLearned(bundle="runs/cleaner", bundle_id="../../other")
