"""What holds for every cleaning step, also for one that is added tomorrow."""

import json

import numpy as np
import pytest
from _pytest.mark import ParameterSet
from numpy.typing import NDArray
from scipy import ndimage

from overread.errors import InputError
from overread.image import Geometry, Image
from overread.preprocessing import Step, fit_steps, learns, settings_of, steps
from overread.preprocessing.learned import opened
from overread.preprocessing.placement import boxes_to_prepared
from overread.preprocessing.section import PreprocessingSection, step_from


class Smoother:
    """A denoiser as `denoise-learned` asks it, without the training."""

    bundle_id, name, seen = "0123456789ab", "smoother", frozenset[str]()

    def __call__(self, image: Image) -> Image:
        kernel = np.ones((1,) * (image.pixels.ndim - 1) + (3,), dtype=np.float32) / 3
        return image.with_pixels(ndimage.convolve(image.pixels, kernel, mode="nearest"), by="smoothed")


opened["runs/smoother"] = opened[Smoother.bundle_id] = Smoother()

EXAMPLES: dict[str, list[dict[str, object]]] = {
    "resize": [{"height": 20, "width": 31}, {"factor": 2.0, "longest": 40}, {"factor": 0.4}],
    "window": [{"centre": 30, "width": 200}],
    "z-score": [{}, {"scope": "training"}],
    "crop-foreground": [{}, {"percentile": 60, "margin_px": 2}],
    "denoise-learned": [{"bundle": "runs/smoother"}],
}
"""Settings to test a step with; a step that is not named here is tested with its defaults."""

OF_VOLUMES: dict[str, list[dict[str, object]]] = {
    "resize": [{"height": 20, "width": 31, "slices": 3}, {"factor": 0.5, "slices": 9}],
    "crop-foreground": [{"slices": True, "margin_px": 1}],
}
"""Settings that only volumes can be prepared with."""

FLAT_ONLY: set[str] = set()
"""Steps that refuse volumes; all others are tested with them."""


def cases(examples: dict[str, list[dict[str, object]]], what: str) -> list[ParameterSet]:
    return [
        pytest.param({"step": name, **settings}, id=f"{name}-{number}{what}")
        for name in steps
        for number, settings in enumerate(examples[name])
    ]


GIVEN = {name: EXAMPLES.get(name, [{}]) for name in steps}
CASES = cases(GIVEN, "")
VOLUME_CASES = cases(
    {name: [] if name in FLAT_ONLY else [*GIVEN[name], *OF_VOLUMES.get(name, [])] for name in steps}, "-volume"
)


def image_of(channels: int = 3, seed: int = 0, slices: int | None = None) -> Image:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 20, (channels, *(() if slices is None else (slices,)), 24, 33)).astype(np.float32)
    pixels[..., 6:18, 8:25] += 150
    return Image(pixels, geometry=Geometry(np.diag([0.5, 0.7, 3.0, 1.0])), units="HU", window=(40.0, 400.0))


def fitted(settings: dict[str, object]) -> Step:
    (step,) = fit_steps([step_from(settings)], lambda: [image_of(seed=1), image_of(seed=2)])
    return step


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_is_deterministic_and_leaves_its_input_alone(settings: dict[str, object], channels: int) -> None:
    (step,) = fit_steps([step_from(settings)], lambda: [image_of(channels, seed=1)])
    image = image_of(channels)
    before = image.pixels.copy()
    first, second = step(image), step(image)
    assert np.array_equal(image.pixels, before)
    assert np.array_equal(first.pixels, second.pixels)
    assert image.history == ()


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_has_as_many_channels_after_a_step_as_the_step_says(
    settings: dict[str, object], channels: int
) -> None:
    (step,) = fit_steps([step_from(settings)], lambda: [image_of(channels, seed=1)])
    assert step(image_of(channels)).channels == (step.makes_channels or channels)


@pytest.mark.parametrize("settings", CASES)
def test_a_step_adds_one_line_of_history_that_begins_with_its_name(settings: dict[str, object]) -> None:
    (line,) = fitted(settings)(image_of()).history
    assert line.startswith(str(settings["step"]))
    assert "\n" not in line


@pytest.mark.parametrize("settings", CASES)
def test_a_step_comes_back_from_its_json(settings: dict[str, object]) -> None:
    for step in (step_from(settings), fitted(settings)):
        text = json.dumps(settings_of(step), allow_nan=False)
        again = step_from(json.loads(text))
        assert again == step
        assert type(again) is type(step)
    section = PreprocessingSection.model_validate({"steps": [settings]})
    assert section.steps == (step_from(settings),)


@pytest.mark.parametrize("settings", CASES)
def test_a_fitted_step_has_nothing_left_to_learn_and_an_unfitted_one_refuses(settings: dict[str, object]) -> None:
    step = step_from(settings)
    assert not learns([fitted(settings)])
    if step.learns:
        with pytest.raises(InputError, match="Fit it"):
            step(image_of())
        with pytest.raises(InputError, match="no image"):
            fit_steps([step], list)
    else:
        assert fit_steps([step], list) == (step,)


@pytest.mark.parametrize("settings", CASES)
def test_geometry_moves_with_the_pixels(settings: dict[str, object]) -> None:
    image = image_of()
    after = fitted(settings)(image)
    assert image.geometry is not None
    assert after.geometry is not None
    np.testing.assert_allclose(after.geometry.affine, image.geometry.affine @ after.to_original)


def block_prepared(settings: dict[str, object]) -> tuple[Image, NDArray[np.float64]]:
    """A step's image of a bright block off the centre, and where the step says that the block lies."""
    pixels = 10 + np.random.default_rng(0).normal(0, 0.5, (3, 80, 100)).astype(np.float32)
    pixels[:, 5:29, 8:48] = 200
    pixels[:, 50:70, 60:90] = 70  # neither darkest nor brightest
    image = Image(pixels, units="HU", window=(100.0, 400.0))
    (step,) = fit_steps([step_from(settings)], lambda: [image])
    after = step(image)
    return after, boxes_to_prepared(np.array([[8, 5, 48, 29], [60, 50, 90, 70]]), after)


@pytest.mark.parametrize("settings", CASES)
def test_what_was_bright_lies_where_the_step_says(settings: dict[str, object]) -> None:
    after, told = block_prepared(settings)
    shown = after.pixels.mean(0)
    far = np.abs(shown - np.median(shown))
    lit = far > 0.8 * far.max()
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(found - told[0]).max() <= 1.01, (found, told[0])


@pytest.mark.parametrize("settings", CASES)
def test_numbers_that_are_still_called_hounsfield_units_are_these(settings: dict[str, object]) -> None:
    after, told = block_prepared(settings)
    for (left, top, right, bottom), value in zip(told.round().astype(int), (200, 70), strict=True):
        there = after.pixels[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if after.units == "HU" and there.size:
            assert np.median(there) == pytest.approx(value, abs=10)


@pytest.mark.parametrize("settings", VOLUME_CASES)
def test_a_volume_is_prepared_like_an_image(settings: dict[str, object]) -> None:
    volume = image_of(slices=5)
    (step,) = fit_steps([step_from(settings)], lambda: [image_of(slices=5, seed=1)])
    before = volume.pixels.copy()
    first, second = step(volume), step(volume)
    assert np.array_equal(volume.pixels, before)
    assert np.array_equal(first.pixels, second.pixels)
    assert first.pixels.ndim == 4
    (line,) = first.history
    assert line.startswith(str(settings["step"]))
    assert first.geometry is not None
    assert volume.geometry is not None
    np.testing.assert_allclose(first.geometry.affine, volume.geometry.affine @ first.to_original)
    assert len(first.pixels[0]) == len(volume.pixels[0]) or "slices" in settings
    assert step_from(json.loads(json.dumps(settings_of(step)))) == step


@pytest.mark.parametrize("settings", VOLUME_CASES)
def test_what_was_bright_in_a_volume_lies_where_the_step_says(settings: dict[str, object]) -> None:
    pixels = 10 + np.random.default_rng(0).normal(0, 0.5, (3, 12, 40, 50)).astype(np.float32)
    ends = np.array([[4, 8], [5, 29], [8, 40]])  # of slices, rows, columns
    pixels[:, 4:8, 5:29, 8:40] = 200
    (step,) = fit_steps([step_from(settings)], lambda: [image_of(slices=5)])
    after = step(Image(pixels, units="HU", window=(100.0, 400.0)))
    shown = after.pixels.mean(0)
    far = np.abs(shown - np.median(shown))
    if "slices" in settings:
        far = np.abs(shown - np.quantile(shown, 0.01))
    hit = [np.flatnonzero((far > 0.8 * far.max()).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    corners = np.array([[*(edge - 0.5 for edge in ends[::-1, end]), 1] for end in (0, 1)]).T
    told = (np.linalg.inv(after.to_original) @ corners)[2::-1] + 0.5
    found = np.array([[places[0], places[-1] + 1] for places in hit])
    assert np.abs(found - told).max() <= 1.01, (found, told)


@pytest.mark.parametrize("name", list(steps))
def test_a_step_that_knows_planes_only_refuses_volumes_by_name(name: str) -> None:
    volume = image_of(slices=5)
    (step,) = fit_steps([step_from({"step": name, **GIVEN[name][0]})], lambda: [volume])
    if name in FLAT_ONLY:
        with pytest.raises(InputError, match=f"'{name}'.*volume"):
            step(volume)
    else:
        assert step(volume).pixels.ndim == 4


@pytest.mark.parametrize("name", list(OF_VOLUMES))
def test_settings_for_slices_refuse_a_flat_image_by_name(name: str) -> None:
    for settings in OF_VOLUMES[name]:
        with pytest.raises(InputError, match=f"'{name}'.*slices"):
            step_from({"step": name, **settings})(image_of())


@pytest.mark.parametrize("settings", CASES)
def test_a_constant_image_is_no_accident(settings: dict[str, object]) -> None:
    after = fitted(settings)(Image(np.full((3, 9, 7), 5.0, dtype=np.float32), units="HU"))
    assert np.isfinite(after.pixels).all()


@pytest.mark.parametrize("name", list(steps))
def test_a_wrong_setting_is_refused(name: str) -> None:
    settings = EXAMPLES.get(name, [{}])[0]
    with pytest.raises(ValueError, match="no_such_setting"):
        step_from({"step": name, **settings, "no_such_setting": 1})
