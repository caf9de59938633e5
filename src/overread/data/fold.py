"""Fold: one way of parting a data set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fold:
    """One way of parting a data set, as sorted case ids.

    Args:
        index: its number, from 0.
        fit: what the model learns from.
        validation: what chooses the epoch; nothing that is reported rests on it. Empty where no share is asked for.
        test: what the model is measured on.
        left_out: cases that nobody learns from here, because their patient, their very pixels, or nearly their picture
            are also in the test part, or in the data set's own test split.
    """

    index: int
    fit: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...] = ()
