"""Chains of steps: applied in order, fitted in order, streamed."""

from collections.abc import Iterator

import numpy as np
import pytest

from overread.image import Image
from overread.preprocessing import fit_steps, learns, prepare, settings_of, steps
from overread.preprocessing.section import step_from


def images(count: int = 5) -> list[Image]:
    rng = np.random.default_rng(0)
    return [Image(rng.normal(n * 10, 3, (2, 6, 4 + n)).astype(np.float32)) for n in range(count)]


def test_a_step_learns_from_images_prepared_by_the_steps_before_it() -> None:
    chain = [step_from({"step": "min-max", "high": 4}), step_from({"step": "z-score", "scope": "training"})]
    assert learns(chain)
    done = fit_steps(chain, images)
    pooled = np.concatenate([prepare(image, chain[:1]).pixels.reshape(2, -1) for image in images()], axis=1)
    np.testing.assert_allclose(done[1].mean, pooled.mean(axis=1, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(done[1].std, pooled.std(axis=1, dtype=np.float64), rtol=1e-6)
    assert chain[1].mean is None


def test_the_spread_is_exact_far_from_zero() -> None:
    rng = np.random.default_rng(1)
    far = [Image((1e6 + rng.integers(0, 8, (1, 50, 50))).astype(np.float32)) for _ in range(4)]
    (step,) = fit_steps([step_from({"step": "z-score", "scope": "training"})], lambda: far)
    assert step.std[0] == pytest.approx(np.stack([i.pixels for i in far]).astype(np.float64).std(), rel=1e-9)


def test_images_are_streamed_once_for_each_step_that_learns() -> None:
    alive, most, passes = 0, 0, 0

    def stream() -> Iterator[Image]:
        nonlocal alive, most, passes
        passes += 1
        for image in images():
            alive += 1
            most = max(most, alive)
            yield image
            alive -= 1

    score = {"step": "z-score", "scope": "training"}
    fit_steps([step_from(score), step_from({"step": "min-max"}), step_from(score)], stream)
    assert passes == 2
    assert most == 1


def test_only_what_differs_from_the_defaults_is_written() -> None:
    assert settings_of(step_from({"step": "min-max", "low": 0.0})) == {"step": "min-max"}
    assert settings_of(step_from({"step": "min-max", "high": 255})) == {"step": "min-max", "high": 255.0}


def test_a_wrong_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(ValueError, match="'window'"):
        step_from({"step": "windwo"})


def test_all_promised_steps_are_in_the_catalogue() -> None:
    promised = {
        "grey",
        "resize",
        "crop-foreground",
        "window",
        "percentile-clip",
        "min-max",
        "z-score",
        "median-denoise",
    }
    assert promised <= set(steps)
