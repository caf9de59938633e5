import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from overread.errors import InputError
from overread.evaluation.delong import delong


def by_brute_force(truth, reference, other):
    """DeLong et al. (1988), equations 3 to 6, pair by pair as they stand there; (difference, z)."""
    positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
    m, n = len(positive), len(negative)
    areas, v10, v01 = [], [], []
    for scores in (reference, other):
        psi = np.array(
            [[1.0 if scores[i] > scores[j] else 0.5 * (scores[i] == scores[j]) for j in negative] for i in positive]
        )
        areas.append(psi.sum() / (m * n))
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))

    def spread(parts):
        return [
            [((parts[r] - areas[r]) * (parts[s] - areas[s])).sum() / (len(parts[r]) - 1) for s in (0, 1)]
            for r in (0, 1)
        ]

    covariance = np.array(spread(v10)) / m + np.array(spread(v01)) / n
    contrast = np.array([-1.0, 1.0])
    return areas[1] - areas[0], (areas[1] - areas[0]) / np.sqrt(contrast @ covariance @ contrast)


def drawn(seed, cases=40, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.random(cases) < 0.4
    truth[:4] = [True, True, False, False]
    common = rng.normal(size=cases)
    scores = [norm.cdf(truth * shift + common * 0.7 + rng.normal(size=cases)) for shift in (0.5, 1.2)]
    return truth, *(np.round(one, 1) if ties else one for one in scores)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_the_paper_computes_pair_by_pair(seed, ties):
    truth, reference, other = drawn(seed, ties=ties)
    value, z = by_brute_force(truth, reference, other)
    found = delong(truth, reference, other, level=0.95)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score(truth, other) - roc_auc_score(truth, reference), abs=1e-12)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(z)), rel=1e-9)
    assert (found.high - found.low) / 2 == pytest.approx(norm.ppf(0.975) * value / z, rel=1e-9)


@given(seed=st.integers(0, 10_000), ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_swapping_the_runs_flips_the_sign_and_keeps_p(seed, ties):
    truth, reference, other = drawn(seed, cases=20, ties=ties)
    one, two = delong(truth, reference, other, level=0.9), delong(truth, other, reference, level=0.9)
    assume(one.p_value is not None)
    assert (one.value, one.low, one.high) == pytest.approx((-two.value, -two.high, -two.low), abs=1e-12)
    assert one.p_value == pytest.approx(two.p_value)
    assert 0 <= one.p_value <= 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_scores_held_against_themselves_differ_by_nothing(seed):
    truth, scores, _ = drawn(seed)
    found = delong(truth, scores, scores, level=0.95)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_of_equally_good_scores_one_in_twenty_differs():
    """Two readers as good as each other, of whom a test at 5 % finds one the better in about 5 % of studies."""
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        truth = np.arange(120) < 40
        common = rng.normal(size=120)
        reference, other = (norm.cdf(truth + common + rng.normal(size=120)) for _ in range(2))
        called += delong(truth, reference, other, level=0.95).p_value < 0.05
    assert 10 <= called <= 32


def test_without_spread_there_is_no_test_and_it_says_so():
    truth = np.array([0, 0, 0, 1, 1, 1])
    found = delong(truth, [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0.3, 0.2, 0.1, 0.9, 0.8, 0.7], level=0.95)
    assert (found.value, found.p_value, found.low) == (0, None, None)  # both perfect: equal here, perhaps not elsewhere
    assert "ranked alike" in found.method
    assert "at least 2 positive" in delong([0, 0, 1], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1], level=0.95).method
    with pytest.raises(InputError, match="0 positive and 2 negative"):
        delong([0, 0], [0.1, 0.2], [0.1, 0.3], level=0.95)
