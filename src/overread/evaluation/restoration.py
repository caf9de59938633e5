"""How near a restored image comes to the clean one: PSNR and SSIM before and after, with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from overread.errors import InputError, UndefinedMetric
from overread.evaluation.estimate import Estimate
from overread.evaluation.intervals import over_draws
from overread.evaluation.measured import Measured, asker
from overread.evaluation.metric import metric, metrics_of

Array = NDArray[np.float64]
Pixels = NDArray[np.floating]

NOISE_LEVELS = (0.05, 0.1, 0.2)
"""Standard deviations of the noise that is added to test images, as a share of each image's own range."""

_WINDOW_PX = 11
"""Side of the window of SSIM, whose weights fall off with a deviation of 1.5 px (Wang et al. 2004)."""


def quality_of(clean: Pixels, noisy: Pixels, restored: Pixels) -> dict[str, float]:
    """How near a noisy image and what was made of it come to the clean one.

    Args:
        clean: `(channel, [slice,] row, column)`.
        noisy: the same with noise.
        restored: what a model made of that.

    Returns:
        "psnr_db" and "ssim" of the restored image, "psnr_db_noisy" and "ssim_noisy" of the noisy one. The range that
        both need is that of the clean image.

    Raises:
        UndefinedMetric: for a clean image of one value, one smaller than SSIM's window, or images without a difference.
    """
    return {
        "psnr_db": _psnr_db(clean, restored),
        "psnr_db_noisy": _psnr_db(clean, noisy),
        "ssim": _ssim(clean, restored),
        "ssim_noisy": _ssim(clean, noisy),
    }


def quality_name(name: str, noise: float) -> str:
    """What a quality is called in tables, such as "ssim_at_noise_0.1"."""
    return f"{name}_at_noise_{noise:g}"


def noise_words(noise: float) -> str:
    """A strength of noise in words.

    >>> noise_words(0.05)
    'noise of 5%'
    """
    return f"noise of {100 * noise:g}%"


def _range_of(clean: Pixels) -> float:
    span = float(np.max(clean)) - float(np.min(clean))
    if not span:
        raise UndefinedMetric("undefined: all pixels of the clean image are equal, so that its range is 0")
    return span


def _psnr_db(clean: Pixels, other: Pixels) -> float:
    from skimage.metrics import peak_signal_noise_ratio  # slow to import

    if np.array_equal(clean, other):
        raise UndefinedMetric("undefined: the image equals the clean one, so that its PSNR has no end")
    span = _range_of(clean)
    measure: Callable[..., float] = peak_signal_noise_ratio
    return float(measure(clean.astype(np.float64), other.astype(np.float64), data_range=span))


def _ssim(clean: Pixels, other: Pixels) -> float:
    from skimage.metrics import structural_similarity  # slow to import

    span, rows, columns = _range_of(clean), *clean.shape[-2:]
    if min(rows, columns) < _WINDOW_PX:
        raise UndefinedMetric(
            f"undefined: SSIM looks at squares of {_WINDOW_PX} x {_WINDOW_PX} px; found an image of {rows} x {columns}"
        )
    measure: Callable[..., float] = partial(
        structural_similarity, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    # SSIM compares mean values, and so depends on where 0 is: at the lowest value, as in the pictures it was made for
    zero = float(np.min(clean))
    planes = (np.reshape(image, (-1, rows, columns)).astype(np.float64) - zero for image in (clean, other))
    return float(np.mean([measure(*pair) for pair in zip(*planes, strict=True)]))


@dataclass(frozen=True, eq=False)
class RestorationQuestion:
    """How near do restored images come to the clean ones? The qualities of every image at one strength of noise.

    Args:
        qualities: name -> `(case,)`; the names are those of `quality_of`.
        patient: `(case,)`, index of the patient.
        patients: how many patients there are.
    """

    qualities: Mapping[str, Array]
    patient: NDArray[np.intp]
    patients: int

    @classmethod
    def ask(cls, clean: Sequence[Pixels], noisy: Sequence[Pixels], restored: Sequence[Pixels]) -> Self:
        """The question with every image a patient of its own; images as in `quality_of`.

        Raises:
            InputError: where the three are not of the same images.
            UndefinedMetric: see `quality_of`.
        """
        shapes = [[image.shape for image in images] for images in (clean, noisy, restored)]
        if shapes[0] != shapes[1] or shapes[0] != shapes[2]:
            raise InputError(
                f"Clean, noisy and restored images are of the same sizes in the same order; found {len(clean)}, "
                f"{len(noisy)} and {len(restored)} images that differ."
            )
        found = [quality_of(*images) for images in zip(clean, noisy, restored, strict=True)]
        names = [one.name for one in metrics_of(cls)]
        qualities = {name: np.array([one[name] for one in found], dtype=np.float64) for name in names}
        return cls(qualities, np.arange(len(found)), len(found))

    @property
    def n_cases(self) -> int:
        """How many images there are."""
        return len(self.patient)

    @property
    def n_positive(self) -> int:
        """None: no image is positive for anything."""
        return 0

    def drawn(self, counts: Array) -> RestorationDraws:
        """The question with every patient counted `counts` times, `(draw, patient)`."""
        return RestorationDraws(self, counts.take(self.patient, axis=1))

    def patients_with(self, what: str) -> int:  # noqa: ARG002 - these questions have cases alone
        """How many patients have cases."""
        return len(np.unique(self.patient))


class RestorationDraws:
    """A question with the case weights of several draws.

    Args:
        question: the qualities.
        weights: `(draw, case)`, how often each case is counted.
    """

    def __init__(self, question: RestorationQuestion, weights: Array) -> None:
        self._question = question
        self._weights = weights

    def amount(self, what: str) -> Array:  # noqa: ARG002 - these questions have cases alone
        """`(draw,)`, the weight of the cases."""
        return np.asarray(self._weights.sum(axis=1))

    def mean(self, name: str) -> Array:
        """`(draw,)`, the mean of one quality over the cases."""
        values = self._question.qualities[name]
        return np.asarray(np.einsum("dc,c->d", self._weights, values) / self.amount("cases"))


_PSNR = "peak signal-to-noise ratio in dB: 10 lg(range of the clean image ^ 2 / mean squared error), mean of the images"
_SSIM = "structural similarity to the clean image (Wang et al., IEEE TIP 2004), mean of the images"
_ANY, _SIMILAR = (-np.inf, np.inf), (-1.0, 1.0)


@metric("ssim", better="higher", says=f"{_SSIM}, restored", of=RestorationQuestion, ends=_SIMILAR)
def ssim(drawn: RestorationDraws) -> Array:
    """Structural similarity of restored and clean images."""
    return drawn.mean("ssim")


@metric("ssim_noisy", better="higher", says=f"{_SSIM}, with noise", of=RestorationQuestion, ends=_SIMILAR)
def ssim_noisy(drawn: RestorationDraws) -> Array:
    """Structural similarity of noisy and clean images: what a model has to surpass."""
    return drawn.mean("ssim_noisy")


@metric("psnr_db", better="higher", says=f"{_PSNR}, restored", of=RestorationQuestion, ends=_ANY)
def psnr_db(drawn: RestorationDraws) -> Array:
    """Peak signal-to-noise ratio of restored images."""
    return drawn.mean("psnr_db")


@metric("psnr_db_noisy", better="higher", says=f"{_PSNR}, with noise", of=RestorationQuestion, ends=_ANY)
def psnr_db_noisy(drawn: RestorationDraws) -> Array:
    """Peak signal-to-noise ratio of noisy images: what a model has to surpass."""
    return drawn.mean("psnr_db_noisy")


def restoration_estimates(
    qualities: Mapping[float, Mapping[str, Array]],
    patients: Sequence[str],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Every quality with its interval: of all strengths of noise together (the mean of each image), then of each.

    Args:
        qualities: strength of the noise -> name -> `(case,)`; names as in `quality_of`.
        patients: `(case,)`, who each case belongs to.
        draws: bootstrap draws over patients.
        level: of the intervals.
        seed: of the draws.

    Returns:
        Rows whose `subgroup` names the strength of the noise. Without cases they have no value.
    """
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    chosen = metrics_of(RestorationQuestion)
    together = {one.name: np.mean([rows[one.name] for rows in qualities.values()], axis=0) for one in chosen}
    parts: list[tuple[str | None, Mapping[str, Array]]] = [(None, together)]
    parts += [(noise_words(noise), rows) for noise, rows in qualities.items()]
    questions = [RestorationQuestion(rows, patient, len(names)) for _, rows in parts]
    results = over_draws(
        [asker(question, chosen) for question in questions],
        patients=len(names),
        size=len(patient),
        draws=draws,
        seed=seed,
    )
    found = []
    for (subgroup, _), question, (values, drawn) in zip(parts, questions, results, strict=True):
        for number, one in enumerate(chosen):
            row = Measured(
                one.name, None, one.says, float(values[number]), drawn[number], len(names), one.proportion,
                question.n_cases, question.patients_with("cases"), question.n_positive,
            )  # fmt: skip
            row = row if len(patient) else replace(row, says=one.reason(question))
            found.append(row.estimate(level=level, subgroup=subgroup))
    return found
