"""Small readings whose truth is known to the pixel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overread.data.manifest import Case, ImageRef
from overread.export.reading import Reading
from overread.finding import Finding, Mask, Prediction, Region
from overread.image import Image, Source


@pytest.fixture(scope="session")
def image() -> Image:
    """A grey ramp, 20 rows by 30 columns."""
    return Image(np.arange(600, dtype=np.float32).reshape(1, 20, 30), source=Source("ramp"))


@pytest.fixture(scope="session")
def square() -> Mask:
    """Rows 5 to 9, columns 10 to 17."""
    array = np.zeros((20, 30), dtype=bool)
    array[5:10, 10:18] = True
    return Mask.from_array(array)


@pytest.fixture(scope="session")
def marked(image: Image, square: Mask) -> Reading:
    """Two marks by the model, one of them right, and one true mark."""
    truth = Finding("tumour", Region.from_mask(square))
    findings = (Finding("tumour", Region.from_mask(square), 0.87), Finding("cyst", Region((0, 0, 4, 4)), 0.5))
    case = Case("case-1", "patient-1", (ImageRef(Path("a.png")),), marks=(truth,), split="train")
    return Reading(Prediction("case-1", findings, bundle_id="b"), image, case, "image 1", fold=0)


@pytest.fixture(scope="session")
def labelled(image: Image) -> Callable[..., Reading]:
    """Makes a reading of a two-class model; `truth` is a class, or None for a new image."""

    def make(number: int, score: float, truth: str | None = None) -> Reading:
        scores = {"malignant": score, "benign": 1 - score}
        case = None
        if truth is not None:
            labels = {name: name == truth for name in scores}
            case = Case(f"case-{number}", f"patient-{number}", (ImageRef(Path("a.png")),), labels=labels)
        prediction = Prediction(f"case-{number}", (), scores, bundle_id="b")
        return Reading(prediction, image, case, f"image {number}", fold=number % 5)

    return make


@pytest.fixture(scope="session")
def refused() -> Reading:
    """No image, and why."""
    prediction = Prediction("case-9", refused="It is 3 x 2 px; at least 32 x 32 px are needed.", bundle_id="b")
    return Reading(prediction, None, None, "image 9")
