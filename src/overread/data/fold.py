"""Fold: one way of parting a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overread.errors import OutputExists
from overread.provenance import digest_of


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

    @property
    def digest(self) -> str:
        """Who learns, chooses and tests: what was learned under one digest is not gone on with under another."""
        return digest_of([self.index, self.fit, self.validation, self.test])


def refuse_other_fold(kept: str | None, digest: str, *, file: Path) -> None:
    """Stop where what was learned rests on other cases than those that learn now: a tested one may be among them.

    Args:
        kept: digest of the fold that it rests on; None where that is not known.
        digest: of the fold that is to go on.
        file: that holds what was learned.

    Raises:
        OutputExists: the two differ.
    """
    if kept != digest:
        raise OutputExists(
            f"'{file}' rests on other cases: since this run began, the data set was parted otherwise, because its "
            "'test' split or the version of Overread changed. Nothing was changed; put both back to go on with the "
            "run, or name another folder to train anew."
        )
