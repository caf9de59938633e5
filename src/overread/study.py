"""Study and Series: which images belong to one examination, under pseudonymous keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


def pseudonym(identity: str, *, prefix: str = "P") -> str:
    """A short key that is the same for the same identity and does not show it.

    It keeps names out of logs, tables and file names. It is not a de-identification: whoever can guess an
    identity can compute its key.

    >>> pseudonym("Doe^Jane") == pseudonym("Doe^Jane")
    True
    """
    return f"{prefix}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Series:
    """Images that were made together: one sweep, one projection, one clip."""

    key: str
    modality: str | None
    instance_uids: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """One examination of one patient."""

    key: str
    patient_key: str
    series: tuple[Series, ...]
    date: str | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of its series, sorted, each once."""
        return tuple(sorted({series.modality for series in self.series if series.modality}))
