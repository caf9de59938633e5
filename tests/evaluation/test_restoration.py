"""How near a restored image comes to the clean one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overread.errors import InputError, UndefinedMetric
from overread.evaluation.restoration import (
    NOISE_LEVELS,
    psnr_db,
    psnr_db_noisy,
    quality_of,
    restoration_estimates,
    ssim,
    ssim_noisy,
)


def ramp(rows: int = 16, columns: int = 20, *, channels: int = 1) -> np.ndarray:
    """From 0 to 1, in rows."""
    return np.broadcast_to(np.linspace(0, 1, columns), (channels, rows, columns)).copy()


def test_psnr_is_ten_times_the_logarithm_of_squared_range_by_squared_error() -> None:
    clean = 50 * ramp()
    found = quality_of(clean, clean + 5, clean - 0.5)  # a tenth and a hundredth of the range
    assert found["psnr_db_noisy"] == pytest.approx(20)
    assert found["psnr_db"] == pytest.approx(40)


def test_ssim_is_that_of_the_formula_where_one_window_sees_one_pair_of_values() -> None:
    """Of two images that differ by a constant only luminance is left (Wang et al. 2004, formula 6)."""
    clean = np.zeros((1, 60, 60))
    clean[:, 55:, 55:] = 1  # the range; far from the pixel that is looked at
    other = clean + 0.5
    luminance = 0.01**2 / (0.5**2 + 0.01**2)
    assert quality_of(clean, other, clean + 0.1)["ssim_noisy"] == pytest.approx(luminance, abs=0.08)


@given(noise=st.floats(0.01, 0.5), shift=st.floats(-100, 100), scale=st.floats(0.01, 1000), seed=st.integers(0, 99))
def test_units_do_not_matter_and_less_noise_is_better(noise: float, shift: float, scale: float, seed: int) -> None:
    clean = ramp()
    added = noise * np.random.default_rng(seed).standard_normal(clean.shape)
    found = quality_of(clean, clean + added, clean + added / 2)
    again = quality_of(*(scale * image + shift for image in (clean, clean + added, clean + added / 2)))
    assert found == pytest.approx(again, rel=1e-6, abs=1e-6)
    assert found["psnr_db"] == pytest.approx(found["psnr_db_noisy"] + 20 * np.log10(2))
    assert -1 <= found["ssim_noisy"] < found["ssim"] <= 1


def test_a_volume_is_as_similar_as_its_slices_are_on_average() -> None:
    rng = np.random.default_rng(0)
    clean = np.stack([ramp(), ramp()[:, :, ::-1]], axis=1)
    noisy = clean + rng.normal(0, [[[[0.05]], [[0.3]]]], clean.shape)
    whole = quality_of(clean, noisy, noisy)
    slices = [quality_of(clean[:, i], noisy[:, i], noisy[:, i])["ssim"] for i in range(2)]
    assert whole["ssim"] == pytest.approx(np.mean(slices))


@pytest.mark.parametrize(
    ("clean", "why"),
    [(np.full((1, 16, 16), 3.0), "all pixels of the clean image are equal"), (ramp(8, 30), "11 x 11 px")],
)
def test_what_has_no_quality_is_refused_with_the_reason(clean: np.ndarray, why: str) -> None:
    with pytest.raises(UndefinedMetric, match=why):
        quality_of(clean, clean + 1, clean + 2)


def test_an_image_without_any_error_has_no_psnr_instead_of_an_infinite_one() -> None:
    with pytest.raises(UndefinedMetric, match="no end"):
        quality_of(ramp(), ramp() + 0.1, ramp())


def test_images_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="same sizes"):
        ssim([ramp()], [ramp()], [ramp(30)])


def test_metrics_are_means_over_the_images() -> None:
    clean = [ramp(), ramp()]
    near, far = ramp() + 0.01, ramp() + 0.1
    assert psnr_db(clean, [far, far], [near, far]) == pytest.approx(30)
    assert psnr_db_noisy(clean, [far, far], [near, near]) == pytest.approx(20)
    assert ssim(clean, [far, far], [near, near]) > ssim_noisy(clean, [far, far], [near, near])


def qualities(n: int) -> dict[float, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    names = ("psnr_db", "psnr_db_noisy", "ssim", "ssim_noisy")
    return {noise: {name: rng.random(n) for name in names} for noise in NOISE_LEVELS}


def test_each_strength_of_noise_and_all_together_have_numbers_with_intervals() -> None:
    given_ = qualities(30)
    rows = restoration_estimates(given_, [f"p{i // 2}" for i in range(30)], draws=200)
    assert [row.subgroup for row in rows[::4]] == [None, "noise of 5%", "noise of 10%", "noise of 20%"]
    for row in rows:
        assert row.low < row.value < row.high
        assert (row.class_name, row.n_cases, row.n_patients) == (None, 30, 15)
    told = {(row.metric, row.subgroup): row.value for row in rows}
    assert told["ssim", "noise of 10%"] == pytest.approx(given_[0.1]["ssim"].mean())
    assert told["ssim", None] == pytest.approx(np.mean([given_[noise]["ssim"].mean() for noise in NOISE_LEVELS]))


def test_an_interval_is_over_patients_and_not_over_images() -> None:
    once, twice = qualities(20), {n: {k: np.repeat(v, 4) for k, v in q.items()} for n, q in qualities(20).items()}
    own = [f"{i}" for i in range(20)]
    first, second = (restoration_estimates(once, own), restoration_estimates(twice, list(np.repeat(own, 4))))
    for one, other in zip(first, second, strict=True):
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high))


def test_without_cases_there_are_rows_without_numbers() -> None:
    rows = restoration_estimates(qualities(0), [])
    assert len(rows) == 16
    assert all(row.value is None and "found none" in row.method for row in rows)
