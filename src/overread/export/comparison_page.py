"""A comparison as one HTML page that needs nothing else, and as a picture."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overread.evaluation.comparison import Difference
from overread.evaluation.delong import DeLong
from overread.export import figures
from overread.export.comparison import Comparison, Rival
from overread.export.comparison_words import (
    LIMITS,
    basis_words,
    cost_rows,
    difference_words,
    first_of,
    first_words,
    lead_words,
    p_words,
    row_words,
    shown_rows,
    signed_words,
    value_words,
    verdict_of,
)
from overread.export.report import pages
from overread.export.wording import NOT_FOR_DIAGNOSIS, is_mean_of_classes, is_rate, level_words, metric_words
from overread.writing import write_whole

_TONES = {"better": "better", "worse": "worse"}
_COLOURS = {"better": figures.LINE, "worse": figures.WARM}
_LAST_DRAWABLE = 0x24F  # the last of the Latin letters: other scripts may have no glyph in the font of the picture


def write_comparison_page(path: Path, comparison: Comparison, picture: bytes) -> Path:
    """Write the page, whole or not at all; `picture` is PNG."""
    return write_whole(path, render_comparison(comparison, picture))


def render_comparison(comparison: Comparison, picture: bytes) -> str:
    """The comparison as HTML; every word of the content is escaped."""
    runs = [comparison.reference, *(rival.run for rival in comparison.rivals)]
    return pages.get_template("comparison.html").render(
        comparison=comparison,
        title=" and ".join(run.name for run in runs) if len(runs) == 2 else ", ".join(run.name for run in runs),
        alarms=[*_simulated(comparison), *comparison.warnings],
        rivals=[_rival(comparison, rival) for rival in comparison.rivals],
        reference=comparison.reference,
        runs=runs,
        basis=basis_words(comparison),
        picture=f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        methods=list(_methods(comparison)),
        limits=[*_limits(comparison), *(limit.format(unit=comparison.unit) for limit in LIMITS)],
        footer=NOT_FOR_DIAGNOSIS,
    )


def write_comparison_picture(path: Path, comparison: Comparison) -> Path:
    """Write the differences over all classes with their intervals, as PNG."""
    two = _drawable(comparison.reference.name)
    panels = [
        (
            f"{_drawable(rival.run.name)} against {two}",
            [
                _advantage(row, rival)
                for row in shown_rows(comparison, rival)
                if row.class_name is None and row.value is not None
            ],
        )
        for rival in comparison.rivals
    ]
    said = f"difference with its {level_words(comparison.level)} interval; grey: could be chance"
    return write_whole(path, figures.advantages(panels, said))


def _advantage(row: Difference, rival: Rival) -> figures.Advantage:
    assert row.value is not None
    estimate = rival.run.estimates[row.key]
    words = metric_words(row.metric) + (", mean of the classes" if is_mean_of_classes(estimate) else "")
    value, low, high = row.value, row.low, row.high
    if row.lower_is_better:
        words += ", how many fewer" if is_rate(estimate) else ", how much lower"
        value, low, high = -value, None if high is None else -high, None if low is None else -low
    return figures.Advantage(words, value, low, high, is_rate(estimate), _COLOURS.get(row.verdict, figures.FAINT))


def _drawable(name: str) -> str:
    return "".join(letter if letter.isprintable() and ord(letter) <= _LAST_DRAWABLE else "?" for letter in name[:40])


def _rival(comparison: Comparison, rival: Rival) -> dict[str, Any]:
    return {
        "name": rival.run.name,
        "lead": lead_words(comparison, rival),
        "tone": _TONES.get(verdict_of(first_of(comparison, rival)) or "", "chance"),
        "first": first_words(comparison, rival),
        "groups": list(_groups(comparison, rival)),
        "costs": list(cost_rows(comparison.reference, rival.run)),
    }


def _groups(comparison: Comparison, rival: Rival) -> Iterator[dict[str, Any]]:
    """Over all classes first, then class by class; one class is all classes."""
    overall = [row for row in shown_rows(comparison, rival) if row.class_name is None]
    yield {"name": "All classes", "rows": [_row(row, comparison, rival) for row in overall]}
    places = {row.metric: place for place, row in enumerate(overall)}
    for name in comparison.classes if len(comparison.classes) > 1 else ():
        rows = [row for row in rival.differences if row.class_name == name]
        yield {
            "name": name,
            "rows": [_row(row, comparison, rival) for row in sorted(rows, key=lambda one: places[one.metric])],
        }


def _row(row: Difference, comparison: Comparison, rival: Rival) -> dict[str, Any]:
    estimate = rival.run.estimates[row.key]
    return {
        "name": row_words(row, rival.run),
        "reference": value_words(comparison.reference.estimates[row.key]),
        "run": value_words(estimate),
        "difference": difference_words(row),
        "verdict": row.verdict,
        "tone": _TONES.get(row.verdict, "chance"),
        "defined": row.value is not None,
        "p": p_words(row),
        "delong": _ends(row.test) if row.test is not None else "",
        "n_positive": "" if is_mean_of_classes(estimate) and not comparison.marks_lesions else row.n_positive,
    }


def _ends(test: DeLong) -> str:
    if test.low is None or test.high is None:
        return ""
    return f"DeLong [{signed_words(test.low)}, {signed_words(test.high)}]"


def _simulated(comparison: Comparison) -> Iterator[str]:
    if comparison.simulated:
        yield "SIMULATED DATA - numbers say nothing about patients"


def _methods(comparison: Comparison) -> Iterator[str]:
    level = level_words(comparison.level)
    drawn = "patients" if comparison.names_patients else f"{comparison.unit}s"
    tied = " (those that share a picture together)" if comparison.n_groups < comparison.n_patients else ""
    yield (
        f"Differences are the run's number minus that of '{comparison.reference.name}'. Their {level} intervals come "
        f"from {comparison.draws} bootstrap draws of {drawn}{tied}, the same draws for both runs."
    )
    yield (
        f"A run is called better or worse where the {level} interval of the difference leaves out 0 and, where there "
        f"is a p, this is below {1 - comparison.level:.2g} too."
    )
    if any(row.test is not None for rival in comparison.rivals for row in rival.differences):
        yield (
            "p of an AUROC is that of DeLong's test (DeLong 1988; Sun and Xu 2014): how often chance alone would part "
            f"two equally good models as far or farther. It counts {comparison.unit}s"
            + (
                "; as patients have several here, or copies are among them, it is too small."
                if comparison.n_groups < comparison.n_cases
                else "."
            )
        )
    if comparison.n_tests > 1:
        yield f"The corrected p counts that {comparison.n_tests} tests were made (Holm 1979)."


def _limits(comparison: Comparison) -> Iterator[str]:
    n_rows = sum(row.value is not None for rival in comparison.rivals for row in rival.differences)
    yield (
        f"{n_rows} differences stand on this page. Of differences that are none about one in "
        f"{round(1 / (1 - comparison.level))} looks like one by chance; the intervals are not corrected for that. "
        "Trust the first sentence before a single row of the table."
    )
    if not comparison.names_patients:
        yield (
            f"The data set names no patients, so each {comparison.unit} counts as a patient of its own, but for "
            f"copies. Where patients have several {comparison.unit}s, the intervals are too narrow and p too small."
        )
