"""How a plan prepares images: alike in channels and range, whatever they are in the files."""

from __future__ import annotations

from overread.proposal.lines import Lines
from overread.proposal.look import Look

FOR_PHOTOGRAPHS = "the range that the network was made for"
FOR_ANY = "a network learns best from small numbers around 0"


def steps(look: Look, *resize: tuple[str, str], why_range: str) -> Lines:
    """The list of steps as TOML, each with its reason in the line above it.

    Args:
        look: at the images.
        resize: the step that brings them to size, and why; none keeps theirs.
        why_range: why pixels are brought to [-1, 1].
    """
    lines: Lines = []
    if look.is_grey and look.channels != {1}:
        lines.append(('{ step = "grey" }', "the images looked at are grey, though kept as colours"))
    elif len(look.channels) > 1:
        lines.append(('{ step = "grey" }', "some images are grey and some in colour; a network needs them alike"))
    if look.units == "HU":
        lines.append(('{ step = "window", centre = 40.0, width = 400.0 }', "CT in Hounsfield units: soft tissue"))
    elif look.is_deep:
        of = "numbers of different meaning" if look.units == "several" else "numbers without a known unit"
        why = f"more than 8 bits, {of}: a few bright pixels would set the range"
        lines.append(('{ step = "percentile-clip", low = 0.5, high = 99.5 }', why))
    lines.append(('{ step = "min-max", low = -1.0, high = 1.0 }', why_range))
    lines += resize
    return [("steps = [", ""), *((f"    # {why}\n    {line},", "") for line, why in lines), ("]", "")]


def spacing_words(look: Look) -> str:
    """What is known of the size of pixels, to be added to a reason; empty where nothing is."""
    if not look.spacing:
        return ""
    if look.spacing_differs > 1.5:
        return f"; at {look.spacing}, so that lesions of one size will not look alike in all images"
    return f"; at {look.spacing}"
