"""What a model says about cases that it is measured on: one that restores is shown them with noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from overread.data.inputs import Images, input_of
from overread.data.manifest import Case, ImageRef
from overread.errors import UndefinedMetric
from overread.evaluation.restoration import NOISE_LEVELS, quality_name, quality_of
from overread.finding import Prediction
from overread.image import Image
from overread.inference.predictor import Ensemble
from overread.preprocessing.step import Step
from overread.provenance import seed_for

SHOWN_NOISE = NOISE_LEVELS[1]
"""The strength of noise that examples are shown with."""


def examined(ensemble: Ensemble, cases: Sequence[Case], images: Images, *, seed: int) -> Iterator[Prediction]:
    """What networks say about cases that they are measured on, in the order given.

    Of networks that restore, the prediction has qualities and no image: each case is prepared, noise of each strength
    in `NOISE_LEVELS` is added, and what is given back is held against the prepared image. The same case gets the same
    noise whenever it is tested.

    Args:
        ensemble: the networks.
        cases: with images or measurements.
        images: where images come from.
        seed: of the noise.
    """
    if ensemble.task != "reconstruction":
        yield from ensemble.predict(cases, images)
        return
    noisy = [_WithNoise(images, cases, noise, seed) for noise in NOISE_LEVELS]
    answers = [ensemble.predict(cases, source) for source in noisy]
    steps = ensemble.networks[0].steps
    for case, *restored in zip(cases, *answers, strict=True):
        refused = next((one for one in restored if one.refused is not None), None)
        if refused is not None:
            yield refused
            continue
        clean = input_of(case, steps, images)
        qualities: dict[str, float] = {}
        try:
            for source, answer in zip(noisy, restored, strict=True):
                assert answer.restored is not None
                seen = input_of(case, steps, source)
                found = quality_of(clean.pixels, seen.pixels, answer.restored.pixels)
                qualities |= {quality_name(name, source.noise): value for name, value in found.items()}
        except UndefinedMetric as error:
            yield Prediction(case.case_id, bundle_id=ensemble.bundle_id, refused=str(error))
            continue
        yield Prediction(case.case_id, quality=qualities, bundle_id=ensemble.bundle_id)


def restored_example(ensemble: Ensemble, case: Case, images: Images, *, seed: int) -> tuple[Image, Image, Image]:
    """One case to look at: as it is prepared, with noise of the strength `SHOWN_NOISE`, and restored."""
    steps, noisy = ensemble.networks[0].steps, _WithNoise(images, [case], SHOWN_NOISE, seed)
    (answer,) = ensemble.predict([case], noisy)
    assert answer.restored is not None
    return input_of(case, steps, images), input_of(case, steps, noisy), answer.restored


class _WithNoise:
    """Images that get noise after their preparation.

    Args:
        images: where they come from.
        cases: that they belong to; the noise hangs on the case.
        noise: its standard deviation as a share of the image's own range.
        seed: of the noise.
    """

    def __init__(self, images: Images, cases: Sequence[Case], noise: float, seed: int) -> None:
        self.noise = noise
        self._images = images
        self._seed = seed
        self._whose = {ref: (case.case_id, place) for case in cases for place, ref in enumerate(case.images)}

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`, with noise."""
        image = self._images.get(ref, steps)
        rng = np.random.default_rng(seed_for(self._seed, "noise", self.noise, *self._whose[ref]))
        deviation = np.float32(self.noise * np.ptp(image.pixels))
        noise = rng.standard_normal(image.pixels.shape, dtype=np.float32) * deviation
        return image.with_pixels(image.pixels + noise, by=f"noise {self.noise:g}")
