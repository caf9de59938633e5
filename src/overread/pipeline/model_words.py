"""What a bundle says of itself to who reads its answers."""

from __future__ import annotations

import re

from overread.bundle import Bundle
from overread.evaluation.estimate import Estimate
from overread.export.wording import (
    RIGHT_MARK,
    estimate_words,
    found_words,
    level_words,
    metric_words,
    restored_words,
    score_words,
    threshold_words,
)

TOLD = {"labels": ("auroc", "sensitivity"), "marks": ("coco_ap50", "tp_ap_50")}
"""The numbers that a reader of answers is told, over all classes and class by class; of marks only by old bundles."""

RULES = {
    "single-label": "The class with the highest score is the answer, by however little it leads.",
    "multi-label": "A class is called present from a score of 0.50 on.",
}


def measured_words(bundle: Bundle, *, knows_only: str | None = None) -> list[str]:
    """By which rule a model answers, and how good it was found to be when it was trained.

    Args:
        bundle: the model.
        knows_only: the one class that it learned from (see `Model.knows_only`).
    """
    if bundle.task == "reconstruction":
        return _restoring_words(bundle)
    marks = bundle.task in ("boxes", "masks")
    overall, of_class = TOLD["marks" if marks else "labels"]
    rows = [row for row in (Estimate(**row) for row in bundle.evaluation) if row.subgroup is None]
    told = [row for row in rows if row.metric == of_class and row.class_name is not None]
    told += [row for row in rows if row.metric == overall and row.class_name is None]
    if all(row.value is None for row in told):
        return ["This model does not say how good it was found to be."]
    n_cases = max(row.n_cases for row in told)  # a class may be known of some images only
    measured, networks = _measured_on(bundle, n_cases), len(bundle.folds)
    counts = found_words(rows)
    if counts is not None:
        at = threshold_words([bundle.threshold]) if networks == 1 else "each fold at the score that it chose"
        words = f"{at}: {counts}. {RIGHT_MARK}"
    else:
        words = "; ".join(_told_words(row, bundle, knows_only) for row in told) + "."
    words += f" In brackets are {level_words(told[0].level)} intervals."
    rule = (
        f"A mark is shown where its score is {score_words(bundle.threshold)} or higher."
        if marks
        else RULES[bundle.task]
    )
    how_good = (
        f"{measured}{': ' if counts is None else ', '}{words} Other {bundle.unit}s can be harder.{_asked_words(bundle)}"
    )
    return [rule, how_good, *bundle.accepted_leaks]


def _measured_on(bundle: Bundle, n_cases: int) -> str:
    measured, networks = f"On {n_cases} {'simulated ' if bundle.simulated else ''}{bundle.unit}s", len(bundle.folds)
    if networks == 1:
        return f"{measured} that were held out from its training"
    # every one of these images is among those that some network of this bundle learned from
    section = bundle.recipe.data
    asked = section.repeats if section.scheme == "repeated-k-fold" else "one"
    return f"{measured}, each answered by the {asked} of its {networks} networks that had not learned from it"


def _asked_words(bundle: Bundle) -> str:
    if len(bundle.folds) == 1:
        return ""
    if len(bundle.asked) == 1:
        return " One of these networks, that of the first fold, answers here."
    return " All networks together, which answer here, were not measured."


def _restoring_words(bundle: Bundle) -> list[str]:
    rows = [Estimate(**row) for row in bundle.evaluation]
    words = restored_words(rows)
    if words is None:
        return ["This model does not say how good it was found to be."]
    return [
        "The model gives each image back without what it takes for noise; it says nothing about disease.",
        f"{_measured_on(bundle, rows[0].n_cases)}, to which noise was added: {words}. In brackets are "
        f"{level_words(rows[0].level)} intervals. Noise of other kinds can be harder.{_asked_words(bundle)}",
    ]


HEALTHY = {"normal", "healthy", "benign", "negative", "unremarkable", "no finding", "no findings"}


def healthy_classes(bundle: Bundle, *, knows_only: str | None = None) -> tuple[str, ...]:
    """The classes that are no disease by what the model or their names say; empty where neither does.

    How common a class is says nothing of it: most images of many a data set show the disease.

    Args:
        bundle: the model.
        knows_only: the one class that it learned from (see `Model.knows_only`).
    """
    if knows_only is not None:
        return (knows_only,)
    if bundle.task in ("boxes", "masks"):  # these classes are of lesions, and no mark is the healthy answer
        return ()
    plain = {name: re.sub(r"[\s_-]+", " ", name.casefold()).strip() for name in bundle.classes}
    named = tuple(name for name, words in plain.items() if HEALTHY.issuperset(re.split(r" or | and |[,;/] ?", words)))
    return () if len(named) == len(plain) else named


def _told_words(row: Estimate, bundle: Bundle, knows_only: str | None) -> str:
    marks = bundle.task in ("boxes", "masks")
    if row.class_name is None:
        return f"{metric_words(row.metric)} {estimate_words(row)}"
    if marks or row.value is None:
        rests_on = "true marks" if marks else f"{bundle.unit}s"
        return f"{metric_words(row.metric)} for {row.class_name} ({row.n_positive} {rests_on}) {estimate_words(row)}"
    called = round(row.value * row.n_positive)  # the sensitivity is a share of whole images
    so = "so" if knows_only in (None, row.class_name) else f"not {knows_only}"
    return f"{called} of {row.n_positive} {row.class_name} called {so} ({estimate_words(row)})"
