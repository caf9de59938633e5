"""Estimate: a number that never travels without its interval and its n."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """One measured number.

    Args:
        metric: its name in the catalogue, such as "auroc".
        class_name: which class; None: over all classes.
        subgroup: which cases, such as "site=A"; None: all of them.
        value: the point estimate; None where the data do not define it (then `method` says why).
        low: lower end of the interval; None likewise.
        high: upper end of the interval; None likewise.
        level: of the interval, such as 0.95.
        n_cases: how many images it rests on.
        n_patients: how many patients, where those who share a picture count as one.
        n_positive: how many positive cases (labels) or true marks.
        method: how value and interval were made, in words.
    """

    metric: str
    class_name: str | None
    subgroup: str | None
    value: float | None
    low: float | None
    high: float | None
    level: float
    n_cases: int
    n_patients: int
    n_positive: int
    method: str

    def as_json(self) -> dict[str, Any]:
        """The row of `evaluation.json`; numbers and None only, so that the JSON is strict."""
        return asdict(self)
