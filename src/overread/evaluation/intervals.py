"""Intervals by drawing patients with replacement, all their cases with them, and what to say where that fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Asker = Callable[[Array], Array]
"""Takes `(draw, patient)` counts, gives `(number, draw)`."""

_FEW_PATIENTS = 10
_CHUNK = 2**17  # numbers at once: 1 MB an array, so that a chunk stays near the processor
_WORKERS = min(4, os.cpu_count() or 1)  # NumPy lets go of the interpreter lock, so threads share the classes


@dataclass(frozen=True)
class Interval:
    """The ends, or None with the reason, and how it was made."""

    low: float | None
    high: float | None
    method: str


def resampled(patients: int, draws: int, seed: int, *, at_once: int) -> Iterator[Array]:
    """How often each patient was drawn, `(draw, patient)` for up to `at_once` draws; independent of `at_once`."""
    rng = np.random.default_rng(seed)
    for first in range(0, draws, at_once):
        counts = np.empty((min(at_once, draws - first), patients))
        for row in counts:
            row[:] = np.bincount(rng.integers(patients, size=patients), minlength=patients)
        yield counts


def weighted_sums(weights: Array, values: Array) -> list[Array]:
    """Sum of some values, with the weights of each draw.

    Written without matrix multiplication: its own threads wait for each other in a busy loop, which on a shared
    machine took ten times as long as all the rest.

    Args:
        weights: `(draw, case)`.
        values: `(number, case)`.

    Returns:
        `(draw,)` for each number.
    """
    return [np.einsum("dc,c->d", weights, row) for row in values]


def over_draws(
    askers: Sequence[Asker], *, patients: int, size: int, draws: int, seed: int
) -> list[tuple[Array, Array]]:
    """Every number of every asker, once for the data as they are and once for each draw.

    Args:
        askers: each turns counts into its numbers.
        patients: how many there are.
        size: the longest row that an asker works on, which sets how many draws are done at once.
        draws: how many.
        seed: of the random draws.

    Returns:
        For each asker the numbers `(number,)` and their draws `(number, draw)`, NaN where undefined.
    """
    points = [asker(np.ones((1, patients)))[:, 0] for asker in askers]
    parts: list[list[Array]] = [[] for _ in askers]
    if patients > 1:
        at_once = max(1, _CHUNK // max(size, patients))
        with ThreadPoolExecutor(_WORKERS) as pool:
            for counts in resampled(patients, draws, seed, at_once=at_once):
                for part, answer in zip(parts, pool.map(lambda ask, counts=counts: ask(counts), askers), strict=True):
                    part.append(answer)
    nothing = [np.empty((len(point), 0)) for point in points]
    drawn = [np.concatenate([empty, *part], axis=1) for empty, part in zip(nothing, parts, strict=True)]
    return list(zip(points, drawn, strict=True))


def interval(value: float, drawn: Array, *, level: float, patients: int, proportion: bool) -> Interval:
    """The percentile interval of a number, or the reason why there is none.

    Where every draw gives the same number, resampling says nothing about what was not seen. For a share of
    successes that is 0 or 1 the exact bound of Clopper and Pearson (Biometrika 26:404, 1934) is given instead, with
    patients as the trials; for the AUROC the trials are pairs of a patient with and one without the class.

    Args:
        value: the number of the data as they are.
        drawn: `(draw,)`, NaN where undefined.
        level: such as 0.95.
        patients: how many patients it rests on (of the rarer kind, where it needs two kinds).
        proportion: whether the number is a share of successes.
    """
    defined = drawn[~np.isnan(drawn)]
    tail = (1 - level) / 2
    if patients < 2:
        return Interval(None, None, f"no interval: it rests on {patients} patient, and that takes at least 2")
    if len(drawn) == 0:
        return Interval(None, None, "no interval: no draws were asked for")
    if len(defined) < len(drawn) / 2:
        return Interval(None, None, f"no interval: undefined in {len(drawn) - len(defined)} of {len(drawn)} draws")
    low, high = (float(end) for end in np.quantile(defined, (tail, 1 - tail)))
    method = f"percentile interval from {len(drawn)} bootstrap draws of patients"
    if len(defined) < len(drawn):
        method += f", {len(drawn) - len(defined)} of them left out as undefined"
    if np.ptp(defined) < 1e-12:
        if not proportion or not (np.isclose(value, 0) or np.isclose(value, 1)):
            return Interval(None, None, "no interval: every bootstrap draw of patients gave the same number")
        bound = tail ** (1 / patients)
        low, high = (bound, 1.0) if value > 0.5 else (0.0, 1 - bound)
        method = f"exact bound of Clopper and Pearson with {patients} patients as trials, as all draws are equal"
    if patients < _FEW_PATIENTS:
        method += f"; it rests on {patients} patients only, so the interval is rather too narrow"
    return Interval(low, high, method)
