"""A comparison in words: which run is better, by how much, and whether it could be chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, log10

from overread.evaluation.comparison import Difference, Verdict
from overread.evaluation.estimate import Estimate
from overread.export.comparison import ComparedRun, Comparison, Rival
from overread.export.wording import (
    decides,
    estimate_words,
    is_mean_of_classes,
    level_words,
    metric_words,
    name_words,
    number_words,
    patients_words,
)

FIRST = {"labels": ("auroc",), "marks": ("marks_found", "false_marks")}
"""The numbers, over all classes, from which it is said which run is better."""

BY = {"labels": "By AUROC", "marks": "By the marks found and the false marks"}
"""The same in words."""

MOST_CLASSES = 12
"""Classes whose first numbers are shown beside those over all classes."""

LIMITS: tuple[str, ...] = (
    "'Could be chance' does not say that two runs are equally good. The interval says how much better or worse the one "
    "may be.",
    "The intervals say what drawing other patients of the same kind would change. They do not cover chance in "
    "training: the same recipe, trained again with another seed, gives somewhat other numbers.",
    "Who tries many runs on the same {unit}s and keeps the best finds it better than it is. Measure the chosen one on "
    "{unit}s that had no part in the choice.",
    "The numbers hold for {unit}s like these; other hospitals, devices and patients can differ.",
    "Times were taken on whatever machine trained; they can be compared where both runs had the same machine to "
    "themselves.",
)


def first_of(comparison: Comparison, rival: Rival) -> list[Difference]:
    """The differences from which it is said which run is better."""
    return [row for row in shown_rows(comparison, rival) if row.class_name is None and row.metric in _first(comparison)]


def verdict_of(rows: Sequence[Difference]) -> Verdict | None:
    """What several differences say together; None where one is better and another worse."""
    found = {row.verdict for row in rows}
    if {"better", "worse"} <= found:
        return None
    verdicts: tuple[Verdict, ...] = ("better", "worse", "could be chance", "no difference seen", "the same")
    return next((verdict for verdict in verdicts if verdict in found), "undefined")


def lead_words(comparison: Comparison, rival: Rival) -> str:
    """Which run is better, by which number, and which other numbers say something else or more."""
    verdict = verdict_of(first_of(comparison, rival))
    if verdict == "the same":
        return _verdict_words(verdict, comparison, rival)
    by = BY["marks" if comparison.marks_lesions else "labels"]
    others = []
    for word in ("better", "worse"):
        names = [_short_words(row, rival.run) for row in _others(comparison, rival) if row.verdict == word]
        others += [f"{word} in {', '.join(names)}"] if names else []
    more = f" Of the other numbers, '{rival.run.name}' is {' and '.join(others)}." if others else ""
    return f"{by}, {_verdict_words(verdict, comparison, rival)}{more}"


def _others(comparison: Comparison, rival: Rival) -> list[Difference]:
    """What is shown beside the first numbers."""
    first = first_of(comparison, rival)
    rows = [*shown_rows(comparison, rival), *_called_rows(comparison, rival)]
    return [row for row in rows if row not in first]


def _short_words(row: Difference, run: ComparedRun) -> str:
    name = metric_words(row.metric)
    if row.class_name is None:
        return f"mean {name}" if is_mean_of_classes(run.estimates[row.key]) else name
    return f"{row.class_name} called so" if row.metric == "sensitivity" else f"{name} of {row.class_name}"


def _verdict_words(verdict: Verdict | None, comparison: Comparison, rival: Rival) -> str:
    one, two = f"'{rival.run.name}'", f"'{comparison.reference.name}'"
    return {
        "better": f"{one} is better than {two}, by more than chance among the patients explains.",
        "worse": f"{one} is worse than {two}, by more than chance among the patients explains.",
        "could be chance": f"no difference between {one} and {two} was shown: what there is could be chance.",
        "no difference seen": f"no difference between {one} and {two} was seen.",
        "the same": f"{one} gives the same answers as {two}.",
        "undefined": f"whether {one} or {two} is better cannot be said from these {comparison.unit}s.",
        None: f"{one} is better than {two} in one thing and worse in another.",
    }[verdict]


def first_words(comparison: Comparison, rival: Rival) -> list[str]:
    """The numbers behind the first sentence, one line each."""
    one, two = rival.run, comparison.reference
    numbers = [
        f"{metric_words(row.metric)}{lower_words(row)}: {one.name} {value_words(one.estimates[row.key])}, "
        f"{two.name} {value_words(two.estimates[row.key])}; "
        f"difference {', '.join(filter(None, (difference_words(row), p_words(row))))}: {row.verdict}."
        for row in first_of(comparison, rival)
    ]
    return numbers + [
        f"Of {row.n_positive} {row.class_name}, {one.name} calls {_hits(one, row)} so, {two.name} {_hits(two, row)}: "
        f"{row.verdict}."
        for row in _called_rows(comparison, rival)
    ]


def _called_rows(comparison: Comparison, rival: Rival) -> list[Difference]:
    """How many images of each class are called so, of a few classes that exclude each other."""
    if comparison.task != "single-label" or len(comparison.classes) > MOST_CLASSES:
        return []
    return [
        row
        for row in rival.differences
        if row.metric == "sensitivity" and row.class_name is not None and row.value is not None
    ]


def _hits(run: ComparedRun, row: Difference) -> int:
    return round((run.estimates[row.key].value or 0) * row.n_positive)  # the sensitivity is a share of whole images


def _first(comparison: Comparison) -> tuple[str, ...]:
    return FIRST["marks" if comparison.marks_lesions else "labels"]


def lower_words(row: Difference) -> str:
    """That a number is better when it is lower, where it is."""
    return " (lower is better)" if row.lower_is_better else ""


def difference_words(row: Difference) -> str:
    """A difference with its interval, or why there is none."""
    if row.value is None:
        return f"not defined: {row.method.removeprefix('undefined').lstrip(': ')}"
    if row.low is None or row.high is None:
        return f"{signed_words(row.value)} (no interval)"
    return f"{signed_words(row.value)} [{signed_words(row.low)}, {signed_words(row.high)}]"


def signed_words(value: float) -> str:
    """A difference with its sign.

    >>> signed_words(0.0412), signed_words(-0.00004), signed_words(0.0)
    ('+0.041', '-0.00004', '0.000')
    """
    words = number_words(abs(value))
    return words if float(words) == 0 else f"{'-' if value < 0 else '+'}{words}"


def p_words(row: Difference) -> str:
    """The p of DeLong's test; empty where there is none."""
    if row.test is None or row.test.p_value is None or row.p_holm is None:
        return ""
    words = f"p {_p(row.test.p_value)}"
    return words if row.p_holm == row.test.p_value else f"{words}, corrected p {_p(row.p_holm)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def basis_words(comparison: Comparison) -> str:
    """What all numbers rest on."""
    named = comparison.names_patients
    patients = patients_words(comparison.n_patients, comparison.n_groups, named=named) + ("" if named else ",")
    runs = "both runs" if len(comparison.rivals) == 1 else f"all {len(comparison.rivals) + 1} runs"
    return (
        f"{comparison.n_cases} {comparison.unit}s{patients} that {runs} answered. "
        f"In brackets are {level_words(comparison.level)} intervals."
    )


def shown_rows(comparison: Comparison, rival: Rival) -> list[Difference]:
    """All numbers over all classes, the first ones first, then what has no threshold; and of each class the first.

    Of many classes none is shown: the page and the files hold all.
    """
    first = _first(comparison)
    order = {name: place for place, name in enumerate(first)}
    overall = [row for row in rival.differences if row.class_name is None]
    overall.sort(key=lambda row: (order.get(row.metric, len(order)), decides(rival.run.estimates[row.key])))
    of_classes = [row for row in rival.differences if row.class_name is not None and row.metric in first]
    return [*overall, *(of_classes if 1 < len(comparison.classes) <= MOST_CLASSES else ())]


def value_words(estimate: Estimate) -> str:
    """A number with its interval; why there is none stands with the difference."""
    return "not defined" if estimate.value is None else estimate_words(estimate)


def row_words(row: Difference, run: ComparedRun) -> str:
    """What a row of the table is about."""
    return name_words(run.estimates[row.key])


def cost_rows(reference: ComparedRun, run: ComparedRun) -> Iterator[tuple[str, str, str, str]]:
    """What two models cost: (what, of the reference, of the run, how many times as much)."""
    for what, words, one, two in (
        ("training time", seconds_words, reference.training_seconds, run.training_seconds),
        ("networks", count_words, reference.n_networks, run.n_networks),
        ("parameters of a network", count_words, reference.n_parameters, run.n_parameters),
        ("weights on the disk", bytes_words, reference.weights_bytes, run.weights_bytes),
    ):
        yield what, words(one), words(two), times_words(one, two) if one and two else ""


def times_words(one: float, two: float) -> str:
    """How many times as much `two` is.

    >>> times_words(2, 5), times_words(3, 300), times_words(812, 11_234_567), times_words(81_200, 1), times_words(2, 2)
    ('2.5 times', '100 times', '13,836 times', '0.000012 times', 'the same')
    """
    if one == two:
        return "the same"
    digits = max(0, 1 - floor(log10(two / one)))
    return f"{two / one:,.{digits}f} times"


def seconds_words(seconds: float | None) -> str:
    """How long something took.

    >>> seconds_words(7.2), seconds_words(150), seconds_words(9000), seconds_words(None)
    ('7 s', '2 min 30 s', '2 h 30 min', 'not kept')
    """
    if seconds is None:
        return "not kept"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else f"{seconds:.2g} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def count_words(count: float | None) -> str:
    """A large number as people say it.

    >>> count_words(5), count_words(11_234_567), count_words(None)
    ('5', '11.2 million', 'not kept')
    """
    if count is None:
        return "not kept"
    return f"{count:,.0f}" if count < 1_000_000 else f"{count / 1e6:,.1f} million"


def bytes_words(count: float | None) -> str:
    """A size on the disk.

    >>> bytes_words(812), bytes_words(44_800_000)
    ('812 bytes', '44.8 MB')
    """
    if count is None:
        return "not kept"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
