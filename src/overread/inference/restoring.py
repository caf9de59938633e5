"""Models that restore: measured with noise that is made for it, and asked as a denoiser by others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overread.data.inputs import Images, input_of
from overread.data.manifest import Case, ImageRef
from overread.errors import InputError, UndefinedMetric
from overread.evaluation.restoration import NOISE_LEVELS, quality_name, quality_of
from overread.finding import Prediction
from overread.image import Image
from overread.preprocessing.step import Step
from overread.provenance import seed_for

if TYPE_CHECKING:  # who looks at results needs no torch
    from overread.inference.predictor import Ensemble

SHOWN_NOISE = NOISE_LEVELS[1]
"""The strength of noise that examples are shown with."""


def examined(ensemble: Ensemble, cases: Sequence[Case], images: Images, *, seed: int) -> Iterator[Prediction]:
    """What networks say about cases that they are measured on, in the order given.

    No prediction has a picture. That of networks that restore has qualities: each case is prepared, noise of each
    strength in `NOISE_LEVELS` is added, and what is given back is held against the prepared image. The same case gets
    the same noise whenever it is tested.

    Args:
        ensemble: the networks.
        cases: with images or measurements.
        images: where images come from.
        seed: of the noise.
    """
    if ensemble.task != "reconstruction":
        for answer in ensemble.predict(cases, images):
            yield replace(answer, heatmap=None)  # as large as its image, and looked at of a few examples alone
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


@dataclass(frozen=True, eq=False)
class TrainedDenoiser:
    """Networks that take noise away, as the step "denoise-learned" asks them.

    Args:
        ensemble: the networks; their own steps are not done again.
        bundle_id: of their bundle.
        name: of their bundle.
        seen: digests of the images that they learned from.
        worsens: what they were measured to make worse, in words.
    """

    ensemble: Ensemble
    bundle_id: str
    name: str
    seen: frozenset[str]
    worsens: tuple[str, ...] = ()

    def __call__(self, image: Image) -> Image:
        """The image restored, in its own units and grid; one whose pixels are all equal has no noise.

        Raises:
            InputError: an image that is not of the kind that the networks learned from.
        """
        if len(image.shape) != self.ensemble.axes:
            kinds = {2: "flat images", 3: "volumes"}
            raise InputError(
                f"{image.source.name}: the denoiser '{self.name}' takes {kinds.get(self.ensemble.axes)}; this is one "
                f"of the {kinds[len(image.shape)]}. Name a denoiser for such images, or leave the step out."
            )
        if image.pixels.min() == image.pixels.max():
            return image
        bare = tuple(replace(network, steps=()) for network in self.ensemble.networks)
        case = Case("image", "image", (ImageRef(Path("image")),))
        (answer,) = replace(self.ensemble, networks=bare).predict([case], _Given(image))
        if answer.restored is None:
            raise InputError(f"{image.source.name}: the denoiser '{self.name}' does not take it: {answer.refused}")
        return answer.restored


@dataclass(frozen=True, eq=False)
class _Given:
    """One image that is there already."""

    image: Image

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:  # noqa: ARG002
        """The image."""
        return self.image


class _WithNoise:
    """Images that get noise after their preparation.

    Args:
        images: where they come from.
        cases: that they belong to; the noise depends on the case.
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
