"""A report as one HTML page that needs nothing else: no script, no file beside it, no network."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image as Picture

from overread.data.manifest import Manifest
from overread.evaluation.estimate import Estimate
from overread.export import figures
from overread.export.content import Confusion, FrocCurve, LabelCurves, ReportContent
from overread.export.overlay import compose
from overread.export.reading import Reading
from overread.export.wording import (
    LIMITS,
    LIMITS_OF_MARKING,
    LIMITS_OF_RESTORING,
    LIMITS_OF_ROWS,
    NOT_FOR_DIAGNOSIS,
    RIGHT_MARK,
    answer_words,
    class_words,
    close_classes,
    decides,
    estimate_words,
    first_names,
    found_words,
    is_mean_of_classes,
    is_of_images,
    is_rate,
    level_words,
    metric_words,
    name_words,
    patients_words,
    place_words,
    restored_words,
    score_words,
    shown_score_words,
    size_words,
    threshold_words,
    unlike_words,
)
from overread.writing import write_whole

MOST_CURVES, MOST_MARKS, MOST_WHERE = 12, 50, 10
FEW_READINGS, LARGE_PX, SMALL_PX = 50, 448, 320
SMALL_PNG, MOST_BYTES = 30_000, 14_000_000
"""Bytes of a picture that need no JPEG; and of all pictures of a page together, about (up to 100 readings or so)."""

pages = Environment(
    loader=PackageLoader("overread.export"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""How pages are made of templates; every word that is filled in is escaped."""
pages.filters["score"] = score_words


def write_report(path: Path, content: ReportContent) -> Path:
    """Write the report as one self-contained HTML page, whole or not at all."""
    return write_whole(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The report as HTML; every word of the content is escaped."""
    cards = [
        {**_card(reading, len(content.readings)), "order": _order(reading, content.healthy)}
        for reading in content.readings
    ]
    cards.sort(key=lambda card: card["order"])  # stable: where nothing parts them, the order given
    return pages.get_template("report.html").render(
        content=content,
        alarms=[*_simulated(content, cards), *content.warnings],
        headline=content.headline or _headline(content, cards),
        meaning=content.knows_only and unlike_words(content.knows_only, content.unit),
        manifest=content.manifest and _data_set(content.manifest),
        problems=[_problem(problem) for problem in content.problems],
        names_patients=_names_patients(content),
        counted="Groups" if _is_tied(content) else "Patients" if _names_patients(content) else "",
        marks=_is_about_marks(content),
        tables=list(_tables(content)),
        levels=[level_words(level) for level in sorted({estimate.level for estimate in content.estimates})],
        label_curves=list(_label_curves(content.curves)) if content.curves else [],
        left_out_curves=max(0, len(content.curves.classes) - MOST_CURVES) if content.curves else 0,
        froc_curves=[(curve, _svg_uri(figures.froc(curve)), _found(curve)) for curve in content.froc],
        confusion=_confusion(content),
        histories=[(history, _svg_uri(figures.learning(history))) for history in content.histories],
        examples=[(caption, _card(reading, len(content.examples))) for caption, reading in content.examples],
        cards=cards,
        ordered=_ordered_words(content, cards),
        all_simulated=all(card["simulated"] for card in cards),  # then it is said once, above
        most_marks=MOST_MARKS,
        limits=[*_limits_of(content, cards), *_limits(content), *content.notes],
        footer=NOT_FOR_DIAGNOSIS,
    )


def _headline(content: ReportContent, cards: Sequence[dict[str, Any]]) -> str:
    if content.kind == "reading":
        refused = sum(card["refused"] is not None for card in cards)
        answers = Counter(card["class"] for card in cards if card["class"] is not None)
        marked = [card["name"] for card in cards if card["n_marks"]]
        given = f"{len(cards)} {content.unit}{'s' * (len(cards) != 1)}"
        parts = [f"{given} given, {len(cards) - refused} read, {refused} refused"]
        if answers:
            how_many = ", ".join(f"{name} {count}" for name, count in answers.most_common())
            rule = " (the class with the highest score)" if any(card["exclusive"] for card in cards) else ""
            parts.append(f"answers{rule}: {how_many}")
        if near := [card["name"] for card in cards if card["close"]]:
            parts.append(f"{len(near)} close between classes: {first_names(near)}")
        if any(card["n_marks"] is not None for card in cards):
            some = f": {first_names(marked)}" if 0 < len(marked) < len(cards) - refused else ""
            parts.append(f"{len(marked)} with marks{some}")
        said = "; ".join(parts)
        return said if said.endswith("...") else f"{said}."
    whole = [e for e in content.estimates if e.class_name is None and e.subgroup is None]
    best = next((e for e in whole if not decides(e)), None)
    if best is None:
        return "No number over all classes was measured."
    held_out = f"On {content.unit}s that were held out from training"
    where = {"training": held_out, "evaluation": "On this data set"}[content.kind]
    n_patients = content.n_patients if _is_tied(content) else best.n_patients
    whose = patients_words(n_patients, best.n_patients, named=_names_patients(content))
    images = f"{best.n_cases} {content.unit}s{whose}"
    restored = restored_words(content.estimates)
    if restored is not None:
        return f"{where} ({images}): {restored}. In brackets are {level_words(best.level)} intervals."
    counts = found_words(content.estimates)
    if counts is not None and content.thresholds:
        at = threshold_words(content.thresholds)
        level = level_words(best.level)
        return f"{where} ({images}), {at}: {counts}. {RIGHT_MARK} In brackets are {level} intervals."
    return (
        f"{where}: {name_words(best)} {estimate_words(best)}"
        + (f" ({level_words(best.level)} interval)" if best.low is not None else "")
        + f"; {images}"
        + (_rightly(content.confusion) or f" ({_amounts(best, content)}).")
    )


def _order(reading: Reading, healthy: Sequence[str]) -> tuple[bool, float]:
    """Where an image stands among the others: refused ones first, then what is most suspicious.

    Where nobody says which class is the healthy one, the order given stays: a guess would put the sick last.
    """
    scores = reading.prediction.scores
    if reading.marks:
        found = max(1.0 if mark.score is None else mark.score for mark in reading.marks)
    elif not reading.exclusive:
        found = max((score for name, score in scores.items() if name not in healthy), default=-1.0)
    else:
        found = -sum(scores.get(name, 0.0) for name in healthy)
    return reading.prediction.refused is None, -found


def _ordered_words(content: ReportContent, cards: Sequence[dict[str, Any]]) -> str:
    healthy = " and ".join(f"'{name}'" for name in content.healthy)
    if any(card["n_marks"] is not None for card in cards):
        how = "then those with marks, from the highest score down, then the others"
    elif content.restores:
        how = "then all others in the order in which they were given"
    elif not any(card["exclusive"] for card in cards):
        how = "then from the highest score down" + (f", that for {healthy} left aside" if healthy else "")
    elif healthy:
        how = f"then by the score for {healthy}, the lowest first"
    else:
        how = (
            "then all others in the order in which they were given, so that suspicious ones can stand anywhere: which "
            "class is the healthy one is not known"
        )
    return f"Refused {content.unit}s come first, {how}."


def _simulated(content: ReportContent, cards: Sequence[dict[str, Any]]) -> Iterator[str]:
    """That images are simulated, and that a model learned from such: two things, of which either can be alone."""
    if content.simulated:
        yield "SIMULATED DATA - numbers say nothing about patients"
    made = [card["name"] for card in cards if card["simulated"]]
    if made and len(made) == len(cards):
        yield "SIMULATED IMAGES - they show no patient"
    elif made:
        yield f"{len(made)} of {len(cards)} images are SIMULATED and show no patient: {first_names(made)}"
    if content.model_simulated:
        yield "This model learned from SIMULATED images - its answers say nothing about patients"


def _is_about_marks(content: ReportContent) -> bool:
    return bool(content.froc) or (content.manifest is not None and content.manifest.marks_lesions)


def _is_tied(content: ReportContent) -> bool:
    """Whether some patients share a picture, and count as one."""
    return content.n_groups < content.n_patients


def _names_patients(content: ReportContent) -> bool:
    return content.manifest is None or content.manifest.names_patients


def _rightly(confusion: Confusion | None) -> str:
    """How many of each class got the right answer: what a number over all thresholds does not say."""
    if confusion is None or len(confusion.classes) > MOST_CURVES:
        return ""
    rows = zip(
        confusion.classes, np.diag(confusion.counts).tolist(), confusion.counts.sum(axis=1).tolist(), strict=True
    )
    parts = [f"{right} of {total} {name}" for name, right, total in rows if total]
    return f". Answered rightly: {', '.join(parts)}." if parts else ""


def _amounts(best: Estimate, content: ReportContent) -> str:
    """How much of each class a number rests on."""
    parts = [
        e for e in content.estimates if e.metric == best.metric and e.subgroup is None and e.class_name is not None
    ]
    if not 0 < len(parts) <= MOST_CURVES:
        return f"{best.n_positive} {'true marks' if _is_about_marks(content) else 'positive'}"
    return ", ".join(f"{e.n_positive} {e.class_name}" for e in parts)


def _tables(content: ReportContent) -> Iterator[dict[str, Any]]:
    """A table for what the model is for and, of marks, one for images by their highest mark: they must not be mixed."""
    marks = _is_about_marks(content)
    of_images = [estimate for estimate in content.estimates if is_of_images(estimate)]
    others = [estimate for estimate in content.estimates if not is_of_images(estimate)]
    title, unit = ("How good its marks are", "True marks") if marks else ("How good it is", "Positive")
    if others:
        yield {"title": title, "unit": unit, "methods": _methods(others), "of_images": False,
               "groups": _groups(others, marks=marks, restores=content.restores)}  # fmt: skip
    if of_images:
        yield {"title": "How well whole images are told apart, by their highest mark", "unit": "Images with it",
               "groups": _groups(of_images, marks=False), "methods": _methods(of_images),
               "of_images": True}  # fmt: skip


def _groups(estimates: Sequence[Estimate], *, marks: bool, restores: bool = False) -> list[dict[str, Any]]:
    """The groups of a table: over all classes first, then class by class, then subgroups."""
    groups: dict[tuple[str, str], list[Estimate]] = {}
    names = {estimate.class_name for estimate in estimates}
    only = len(names) == 2 and None in names  # one class is all classes
    for estimate in sorted(estimates, key=lambda e: (e.subgroup is not None, e.class_name is not None)):
        if estimate.class_name is None or not only:
            groups.setdefault((estimate.subgroup or "", estimate.class_name or ""), []).append(estimate)
    return [
        {
            "name": _group_name(class_name, subgroup, restores=restores),
            "rows": [_estimate(one, marks=marks) for one in sorted(rows, key=decides)],
        }
        for (subgroup, class_name), rows in groups.items()
    ]


def _group_name(class_name: str, subgroup: str, *, restores: bool) -> str:
    if restores:
        return subgroup.capitalize() or "All strengths of noise"
    return (class_name or "All classes") + (f", only {subgroup}" if subgroup else "")


def _estimate(estimate: Estimate, *, marks: bool) -> dict[str, Any]:
    ends = [end for end in (estimate.value, estimate.low, estimate.high) if end is not None]
    bar = len(ends) == 3 and all(0 <= end <= 1 for end in ends) and not is_rate(estimate)
    positive = None if is_mean_of_classes(estimate) and not marks else estimate.n_positive
    words = {"name": name_words(estimate), "words": estimate_words(estimate)}
    return {"of": estimate, **words, "n_positive": positive, "bar": bar}


def _methods(estimates: Sequence[Estimate]) -> list[tuple[str, list[str]]]:
    """How each metric was measured: once where all its numbers were measured alike, else with whose numbers differ."""
    found: dict[str, dict[str, list[str]]] = {}
    shown: dict[str, str] = {}
    for estimate in sorted(estimates, key=lambda e: (e.subgroup is not None, e.class_name is not None, decides(e))):
        if estimate.value is not None:
            whose = ", ".join(filter(None, (estimate.class_name, estimate.subgroup))) or "all classes"
            # a number over all classes that is made of those of the classes was measured like them
            alike = re.sub("; (?:mean|sum) over [0-9]+ classes|; that of '[^;]*'", "", estimate.method)
            shown.setdefault(alike, estimate.method)
            found.setdefault(metric_words(estimate.metric), {}).setdefault(alike, []).append(whose)
    return [
        (name, [f"{', '.join(whose)}: {shown[way]}" if len(ways) > 1 else shown[way] for way, whose in ways.items()])
        for name, ways in found.items()
    ]


def _data_set(manifest: Manifest) -> dict[str, Any]:
    cases = manifest.cases
    classes = []
    for name in manifest.classes:
        if manifest.marks_lesions:
            marks = [sum(mark.label == name for mark in case.marks or ()) for case in cases]
            classes.append((name, sum(marks), sum(count > 0 for count in marks)))
        else:
            known = [case.labels.get(name) for case in cases]
            classes.append((name, known.count(True), known.count(None)))
    return {
        "name": manifest.name,
        "source": manifest.source,
        "task": manifest.task,
        "marks": manifest.marks_lesions,
        "n_cases": len(cases),
        "n_patients": len({case.patient_id for case in cases}),
        "n_unmarked": sum(case.marks is None for case in cases),
        "n_without": sum(case.marks == () for case in cases),
        "classes": classes,
        "splits": sorted(Counter(case.split or "none given" for case in cases).items()),
        "measurements": manifest.measurements,
        "fingerprint": manifest.fingerprint[:12],
    }


def _problem(problem: Any) -> dict[str, Any]:
    more = len(problem.where) - MOST_WHERE
    where = ", ".join(problem.where[:MOST_WHERE]) + (f" and {more} more" if more > 0 else "")
    return {"severity": problem.severity, "name": problem.name, "message": problem.message, "where": where}


def _label_curves(curves: LabelCurves) -> Iterator[dict[str, Any]]:
    for index, name in enumerate(curves.classes[:MOST_CURVES]):
        truth, score = curves.of_class(index)
        figure = figures.roc_and_pr(truth, score)
        uri = None if figure is None else _svg_uri(figure)
        yield {"name": name, "uri": uri, "n_cases": len(truth), "n_positive": int(truth.sum())}


def _found(curve: FrocCurve) -> str:
    """How much is found at a bearable number of false marks, as read off the curve."""
    shares = curve.sensitivity[curve.false_marks <= 1]
    found = round(float(shares.max()) * curve.n_marks) if len(shares) else 0
    return f"With one false mark an image at most, on average, {found} of {curve.n_marks} true marks are found"


def _confusion(content: ReportContent) -> dict[str, Any] | None:
    if content.confusion is None:
        return None
    counts = content.confusion.counts
    rows = []
    for name, row in zip(content.confusion.classes, counts.tolist(), strict=True):
        total = sum(row)
        cells = [(count, count / total if total else None) for count in row]
        rows.append({"name": name, "total": total, "cells": cells})
    return {"classes": content.confusion.classes, "rows": rows, "rule": content.confusion.rule}


def _limits_of(content: ReportContent, cards: Sequence[dict[str, Any]]) -> Sequence[str]:
    if content.restores:
        return LIMITS_OF_RESTORING[content.kind]
    if any(card["marks_lesions"] for card in cards):
        return LIMITS_OF_MARKING[content.kind]
    return (LIMITS if content.unit == "image" else LIMITS_OF_ROWS)[content.kind]


def _limits(content: ReportContent) -> Iterator[str]:
    nameless = 0 if content.manifest is None else content.manifest.n_nameless
    if nameless:
        whose = (
            f"{nameless} {content.unit}s name no patient"
            if _names_patients(content)
            else "The data set names no patients"
        )
        yield (
            f"{whose}, so each of these counts as a patient of its own, but for copies. Where patients have several "
            f"{content.unit}s, the numbers are too good and the intervals too narrow."
        )


def _card(reading: Reading, n_readings: int) -> dict[str, Any]:
    """One image with its answer, ready for the page."""
    volume = reading.image is not None and len(reading.image.shape) == 3
    made = compose(reading, side_px=(LARGE_PX if n_readings <= FEW_READINGS else SMALL_PX) * (1 + volume))
    prediction = reading.prediction
    can_mark = prediction.refused is None and reading.can_mark
    return {
        "name": reading.name,
        "refused": prediction.refused,
        "simulated": reading.simulated,
        "learned_from": reading.learned_from,
        "class": None if reading.predicted_class is None else class_words(reading, reading.predicted_class),
        "exclusive": reading.exclusive,
        "close": close_classes(reading),
        "answer": answer_words(reading),
        "n_marks": len(reading.marks) if can_mark else None,
        "highest": max((mark.score for mark in reading.marks if mark.score is not None), default=None),
        "lines": made.lines[1:-1],  # name and footer stand on the page itself
        "pictures": [
            (_picture_uri(panel, MOST_BYTES / (2 * max(n_readings, FEW_READINGS))), says)
            for panel, says in zip(made.panels, made.says, strict=False)
        ],
        "wide": volume,
        "marks_lesions": reading.marks_lesions,
        "scores": [
            (class_words(reading, name), shown_score_words(reading, score), score)
            for name, score in sorted(prediction.scores.items(), key=lambda item: -item[1])
        ],
        "marks": [
            {
                "label": mark.label,
                "score": "" if mark.score is None else score_words(mark.score),
                "size": size_words(mark, reading.image),
                "at": place_words(mark),
            }
            for mark in reading.marks[:MOST_MARKS]
        ],
    }


def _picture_uri(picture: Picture.Image, most_bytes: float) -> str:
    """The picture inside a data URI: as PNG where that is small, else as the best JPEG that is small enough."""
    png = io.BytesIO()
    picture.save(png, "PNG")
    kind, stream = "png", png
    for quality in (85, 70, 50, 30):
        if stream.tell() <= most_bytes and (kind == "jpeg" or stream.tell() < SMALL_PNG):
            break
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=quality, subsampling=0)
        if jpeg.tell() < stream.tell():
            kind, stream = "jpeg", jpeg
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _svg_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
