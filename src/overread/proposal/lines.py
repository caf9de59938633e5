"""What a plan is written in: lines of TOML, each with its reason."""

from __future__ import annotations

Lines = list[tuple[str, str]]
"""A line of TOML and why it is so."""


def in_comment(name: str) -> str:
    """A name that cannot end its comment; TOML allows no control characters there."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
