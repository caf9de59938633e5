"""Steps that change numbers and leave pixels where they are."""

import numpy as np
import pytest

from overread.errors import InputError
from overread.image import Image
from overread.preprocessing.section import step_from


def image(values: object, **more: object) -> Image:
    return Image(np.asarray(values, dtype=np.float32), **more)


def test_a_lung_window_maps_its_ends_to_black_and_white() -> None:
    ct = image([[[-2000, -1350, -600, 150, 900]]], units="HU")
    after = step_from({"step": "window", "centre": -600, "width": 1500})(ct)
    np.testing.assert_allclose(after.pixels[0, 0], [0, 0, 0.5, 1, 1])
    assert after.units == "normalised"
    assert after.window is None


def test_a_window_in_hounsfield_is_refused_for_other_units_until_they_are_named() -> None:
    stored = image([[[0, 50, 100]]])
    with pytest.raises(InputError, match='units = "stored"'):
        step_from({"step": "window", "centre": 50, "width": 100})(stored)
    after = step_from({"step": "window", "centre": 50, "width": 100, "units": "stored"})(stored)
    np.testing.assert_allclose(after.pixels[0, 0], [0, 0.5, 1])


def test_without_numbers_the_file_s_own_window_is_used_or_the_image_refused() -> None:
    own = step_from({"step": "window"})
    after = own(image([[[0, 50, 100]]], window=(50.0, 100.0)))
    np.testing.assert_allclose(after.pixels[0, 0], [0, 0.5, 1])
    assert "50" in after.history[0]
    with pytest.raises(InputError, match=r"asks to be shown is needed .*; found none"):
        own(image([[[0, 50, 100]]]))


def test_half_a_window_is_no_window() -> None:
    with pytest.raises(ValueError, match="centre and a width"):
        step_from({"step": "window", "centre": 40})


def test_min_max_stretches_all_channels_alike() -> None:
    after = step_from({"step": "min-max"})(image([[[0, 5]], [[10, 20]]]))
    np.testing.assert_allclose(after.pixels, [[[0, 0.25]], [[0.5, 1]]])


def test_min_max_survives_the_largest_numbers() -> None:
    after = step_from({"step": "min-max", "low": -1})(image([[[-3e38, 0, 3e38]]]))
    np.testing.assert_allclose(after.pixels[0, 0], [-1, 0, 1])


def test_percentile_clip_cuts_one_bright_speck() -> None:
    values = np.arange(1000.0).reshape(1, 10, 100)
    values[0, 0, 0] = 1e6
    after = step_from({"step": "percentile-clip"})(image(values))
    assert after.pixels.max() < 1000
    assert after.units == "stored"


def test_known_statistics_can_be_written_in_the_recipe() -> None:
    step = step_from({"step": "z-score", "scope": "training", "mean": [10, 20], "std": [2, 4]})
    assert not step.learns
    np.testing.assert_allclose(step(image([[[12]], [[12]]])).pixels.ravel(), [1, -2])
    with pytest.raises(InputError, match="2 channels; found 1"):
        step(image([[[12]]]))


@pytest.mark.parametrize(
    "settings",
    [
        {"scope": "training", "mean": [1]},
        {"scope": "training", "mean": [1], "std": [0]},
        {"scope": "training", "mean": [1], "std": [1, 2]},
        {"mean": [1], "std": [1]},
        {"scope": "training", "mean": [float("nan")], "std": [1]},
    ],
)
def test_statistics_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ZScore"):
        step_from({"step": "z-score", **settings})


def test_a_training_set_without_contrast_is_refused() -> None:
    with pytest.raises(InputError, match="constant"):
        step_from({"step": "z-score", "scope": "training"}).fit([image(np.full((1, 4, 4), 7.0))])


def test_median_takes_a_speck_away_and_keeps_an_edge() -> None:
    values = np.zeros((1, 9, 9))
    values[:, :, 5:] = 10
    clean = step_from({"step": "median-denoise"})(image(values))
    np.testing.assert_array_equal(clean.pixels, values)
    values[0, 4, 2] = 99
    np.testing.assert_array_equal(step_from({"step": "median-denoise"})(image(values)).pixels, clean.pixels)
    with pytest.raises(ValueError, match="odd"):
        step_from({"step": "median-denoise", "size": 4})


def test_grey_of_equal_colours_is_that_colour_exactly() -> None:
    values = np.repeat(np.arange(256.0).reshape(1, 16, 16), 3, axis=0)
    np.testing.assert_array_equal(step_from({"step": "grey"})(image(values)).pixels[0], values[0])


def test_grey_that_is_stored_as_colour_is_told_from_colours() -> None:
    step = step_from({"step": "grey", "weights": "equal"})
    values = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    found = step(image(values[:1].repeat(3, axis=0)))
    np.testing.assert_array_equal(found.pixels, values[:1])
    assert "equal" in found.history[-1]
    np.testing.assert_array_equal(step(image(values[:1])).pixels, values[:1])
    with pytest.raises(InputError, match=r"colour image.*'grey', which takes both"):
        step(image(values))


def test_grey_weighs_as_the_eye_does() -> None:
    after = step_from({"step": "grey"})(image(np.eye(3).reshape(3, 1, 3)))
    np.testing.assert_allclose(after.pixels.ravel(), [0.299, 0.587, 0.114], rtol=1e-6)
    with pytest.raises(InputError, match="found 2"):
        step_from({"step": "grey"})(image(np.zeros((2, 3, 3))))


def test_colour_makes_three_equal_colours_of_grey_and_leaves_colours_as_they_are() -> None:
    step = step_from({"step": "colour"})
    grey = np.random.default_rng(0).random((1, 4, 5)).astype(np.float32)
    colours = np.random.default_rng(1).random((3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(step(image(grey)).pixels, grey.repeat(3, axis=0))
    np.testing.assert_array_equal(step(image(colours)).pixels, colours)
    assert "already" in step(image(colours)).history[-1]
    with pytest.raises(InputError, match=r"'colour' needs .* found 2"):
        step(image(np.zeros((2, 3, 3))))
