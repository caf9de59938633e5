"""Values of a DICOM header: as numbers, and as words that a message may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset


def quoted(value: object, known: tuple[str, ...]) -> str:
    """A value of a header as a message may say it: one that is known, for any other can be a name."""
    return f"'{value}'" if value in known else "an unknown one" if value else "none"


def numbers_of(dataset: Dataset, key: str) -> list[float]:
    """The numbers of an attribute; none where one of them is no number."""
    value = dataset.get(key)
    if value is None or value == "":
        return []
    try:
        numbers = [float(part) for part in (value if isinstance(value, list) or hasattr(value, "append") else [value])]
    except (TypeError, ValueError):
        return []
    return numbers if np.isfinite(numbers).all() else []


def number_of(dataset: Dataset, key: str) -> float | None:
    """The first number of an attribute; None where there is none."""
    numbers = numbers_of(dataset, key)
    return numbers[0] if numbers else None
