"""What holds for every cleaning step, also for one that is added tomorrow."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from overread.errors import InputError
from overread.image import Geometry, Image
from overread.preprocessing import Step, fit_steps, learns, settings_of, steps
from overread.preprocessing.placement import boxes_to_prepared
from overread.preprocessing.section import PreprocessingSection, step_from

EXAMPLES: dict[str, list[dict[str, object]]] = {
    "resize": [{"height": 20, "width": 31}, {"factor": 2.0, "longest": 40}, {"factor": 0.4}],
    "window": [{"centre": 30, "width": 200}],
    "z-score": [{}, {"scope": "training"}],
    "crop-foreground": [{}, {"percentile": 60, "margin_px": 2}],
}
"""Settings to test a step with; a step that is not named here is tested with its defaults."""

CASES = [
    pytest.param({"step": name, **settings}, id=f"{name}-{number}")
    for name in steps
    for number, settings in enumerate(EXAMPLES.get(name, [{}]))
]


def image_of(channels: int = 3, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 20, (channels, 24, 33)).astype(np.float32)
    pixels[:, 6:18, 8:25] += 150
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


@pytest.mark.parametrize("settings", CASES)
def test_a_volume_is_prepared_or_refused_in_words(settings: dict[str, object]) -> None:
    rng = np.random.default_rng(3)
    volume = Image(rng.normal(50, 20, (1, 4, 12, 10)).astype(np.float32), units="HU")
    step = step_from(settings)
    if step.learns:
        step = step.fit([volume])
    try:
        after = step(volume)
    except InputError:
        with pytest.raises(InputError, match="volume"):
            step(volume)
    else:
        assert after.pixels.ndim == 4
        assert after.shape == volume.shape


@pytest.mark.parametrize("settings", CASES)
def test_a_constant_image_is_no_accident(settings: dict[str, object]) -> None:
    after = fitted(settings)(Image(np.full((3, 9, 7), 5.0, dtype=np.float32), units="HU"))
    assert np.isfinite(after.pixels).all()


@pytest.mark.parametrize("name", list(steps))
def test_a_wrong_setting_is_refused(name: str) -> None:
    settings = EXAMPLES.get(name, [{}])[0]
    with pytest.raises(ValueError, match="no_such_setting"):
        step_from({"step": name, **settings, "no_such_setting": 1})
