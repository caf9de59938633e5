"""What holds for every cleaning step, also for one that is added tomorrow."""

import json

import numpy as np
import pytest

from overread.errors import InputError
from overread.image import Geometry, Image
from overread.preprocessing import Step, fit_steps, learns, settings_of, steps
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
