"""Predictions and numbers in words that mislead nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from overread.evaluation.estimate import Estimate
from overread.evaluation.image_level import ImageQuestion
from overread.evaluation.matching import FOUND_IOU
from overread.evaluation.metric import metrics
from overread.export.reading import Reading
from overread.finding import Box, Finding, Region
from overread.image import Image

METRIC_NAMES = {
    "brier": "Brier score",
    "coco_ap": "average precision (COCO, IoU 0.50 to 0.95)",
    "coco_ap50": "average precision (COCO, IoU 0.50)",
    "coco_ap75": "average precision (COCO, IoU 0.75)",
    "false_marks": "false marks an image, IoU 0.50",
    "image_auroc": "AUROC of images, by their highest mark",
    "image_sensitivity": "sensitivity for images, by their highest mark",
    "image_specificity": "specificity for images, by their highest mark",
    "instance_dice": "Dice of the right marks",
    "marks_found": "share of the true marks found, IoU 0.50",
    "psnr_db": "PSNR in dB, restored",
    "psnr_db_noisy": "PSNR in dB, with noise",
    "ssim": "SSIM, restored",
    "ssim_noisy": "SSIM, with noise",
    "tp_ap_50": "right / (right + false + missed), IoU 0.50",
    "tp_ap_70": "right / (right + false + missed), IoU 0.70",
    "tp_ap_90": "right / (right + false + missed), IoU 0.90",
}
"""What a doctor can read for names of the catalogue that are a program's."""

ABBREVIATIONS = ("ap", "auprc", "auroc", "f1", "froc", "iou", "map")
LONGEST_ABBREVIATION = 4
"""A name of the catalogue that is no longer is taken for letters that stand for words, such as mcc."""

RIGHT_MARK = (
    "A mark is right where it shares with a true mark of its class at least half of what the two "
    f"cover (IoU {FOUND_IOU:.2f})."
)
CLOSE = 0.2
"""Scores nearer to each other than this are said to be close: of two classes, 0.6 and 0.4."""

NOT_FOR_DIAGNOSIS = "Research use only - not for diagnosis"


def score_words(score: float) -> str:
    """A score with two digits that never looks like certainty; a model's 1 is a number that was rounded.

    >>> score_words(0.8749), score_words(1.0), score_words(0.001)
    ('0.87', '>0.99', '<0.01')
    """
    if score >= 0.995:
        return ">0.99"
    if score < 0.005:
        return "<0.01"
    return f"{score:.2f}"


def class_words(reading: Reading, name: str) -> str:
    """A class as an answer: of a model that knows one class only, any other means no more than that it is not that."""
    if reading.knows_only in (None, name):
        return name
    return f"not {reading.knows_only} ({name} in its data)"


def unlike_words(knows_only: str, unit: str) -> str:
    """What the score of a model means that learned from one class only (see `Model.knows_only`)."""
    return (
        f"This model learned from {knows_only} {unit}s only. Its score says how unlike them another one is, and not "
        f"which disease it shows: 0.50 is as unlike as they are on average, so {knows_only} {unit}s lie on both sides "
        "of it. Anything unusual scores high, also another part of the body, inverted grey values or another device."
    )


def shown_score_words(reading: Reading, score: float) -> str:
    """A score of the image; of a model that marks also whether the mark that it is of is shown."""
    if not reading.marks_lesions or reading.threshold is None or score >= reading.threshold:
        return score_words(score)
    if score == 0:
        return "no mark"
    return f"{score_words(score)} (below {score_words(reading.threshold)}: not shown)"


def answer_words(reading: Reading) -> str:
    """What the model says about the image as a whole, in one line."""
    prediction = reading.prediction
    if prediction.refused is not None:
        return f"Refused: {prediction.refused}"
    parts = []
    if prediction.scores and not reading.marks_lesions:
        by_score = sorted(prediction.scores.items(), key=lambda item: -item[1])
        first = reading.predicted_class
        close = close_classes(reading)
        near, far = (
            [
                f"{class_words(reading, name)} {score_words(score)}"
                for name, score in by_score
                if name != first and (name in close) is is_near
            ]
            for is_near in (True, False)
        )
        if first is not None:
            head = class_words(reading, first)
            head += f" {score_words(prediction.scores[first])}" if first in prediction.scores else ""
            others = [f"{word}: {', '.join(some)}" for word, some in (("close", near), ("others", far)) if some]
            parts.append(head + (f" ({'; '.join(others)})" if others else ""))
        else:
            parts.append(", ".join(far))
    if reading.restores:
        parts.append("restored; nothing is said about disease")
    elif reading.can_mark:
        parts.append(_counted(reading.marks))
    return "; ".join(parts)


def close_classes(reading: Reading) -> tuple[str, ...]:
    """The classes whose score comes so near to that of the answer that it could as well have been theirs."""
    first, scores = reading.predicted_class, reading.prediction.scores
    if not reading.exclusive or first is None or first not in scores:
        return ()
    return tuple(name for name, score in scores.items() if name != first and scores[first] - score < CLOSE)


def truth_words(reading: Reading) -> str | None:
    """The truth in one line; None where it is not known."""
    parts = []
    if reading.true_classes is not None:
        parts.append(", ".join(reading.true_classes) or "none of the classes")
    if reading.true_marks is not None:
        parts.append(_counted(reading.true_marks))
    return "; ".join(parts) or None


def _counted(marks: Sequence[Finding]) -> str:
    if not marks:
        return "no marks"
    counts = sorted(Counter(mark.label for mark in marks).items())
    return f"{len(marks)} mark{'s' if len(marks) > 1 else ''} ({', '.join(f'{n} {label}' for label, n in counts)})"


def first_names(names: Sequence[str]) -> str:
    """The first three of some names, and whether there are more.

    >>> first_names(["a", "b", "c", "d"])
    'a, b, c ...'
    """
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def patients_words(n_patients: int, n_groups: int, *, named: bool) -> str:
    """Whose images they are, and how many patients they count as where some share a picture.

    >>> patients_words(40, 40, named=True), patients_words(40, 38, named=True)
    (' of 40 patients', ' of 40 patients (38 groups, as copies count as one)')
    >>> patients_words(624, 521, named=False)
    ', patients not named (521 groups, as copies count as one)'
    """
    whose = f" of {n_patients} patients" if named else ", patients not named"
    return whose if n_groups == n_patients else f"{whose} ({n_groups} groups, as copies count as one)"


def number_words(value: float) -> str:
    """A number with three digits, or with as many as it needs not to look like a perfect 0 or 1.

    >>> number_words(0.87349), number_words(0.99996), number_words(1.0), number_words(12.5)
    ('0.873', '0.99996', '1.000', '12.500')
    """
    for digits in range(3, 9):
        words = f"{value:.{digits}f}"
        if float(words) not in (0.0, 1.0) or float(words) == value:
            break
    return words


def metric_words(name: str) -> str:
    """A metric's name of the catalogue as people write it.

    >>> metric_words("auroc"), metric_words("average_precision"), metric_words("brier"), metric_words("mcc")
    ('AUROC', 'average precision', 'Brier score', 'MCC')
    """
    if name not in METRIC_NAMES and len(name) <= LONGEST_ABBREVIATION:
        return name.upper()
    return METRIC_NAMES.get(name) or " ".join(
        word.upper() if word in ABBREVIATIONS else word for word in name.split("_")
    )


def name_words(estimate: Estimate) -> str:
    """What was measured; a mean over the classes is called one.

    Unsaid, the mean sensitivity of "ill" and "healthy" is taken for the sensitivity for the illness.
    """
    name = metric_words(estimate.metric)
    if is_mean_of_classes(estimate):
        name += ", mean of the classes"
    lower = estimate.metric in metrics and metrics.get(estimate.metric).better == "lower"
    return f"{name} (lower is better)" if lower else name


def is_mean_of_classes(estimate: Estimate) -> bool:
    """Whether it is a mean over questions of one class each: of labels, every image is positive for one of them."""
    return estimate.class_name is None and "; mean over " in estimate.method


def decides(estimate: Estimate) -> bool:
    """Whether it depends on a threshold, as accuracy does: such a number flatters a data set with one rare class."""
    return estimate.metric in metrics and metrics.get(estimate.metric).decides


def is_rate(estimate: Estimate) -> bool:
    """Whether it can be more than 1, and so is no share: an amount an image, a level in dB."""
    return estimate.metric in metrics and metrics.get(estimate.metric).ends[1] > 1


def is_of_images(estimate: Estimate) -> bool:
    """Whether it tells images from images by their highest mark, and says nothing of single marks."""
    return estimate.metric in metrics and metrics.get(estimate.metric).of is ImageQuestion


MOST_COUNTS = 12
"""Classes whose counts a sentence can hold."""


def found_words(estimates: Sequence[Estimate]) -> str | None:
    """How many lesions are found and how many marks are false, class by class; None where that was not measured."""
    found, false = (
        [e for e in estimates if e.metric == name and e.subgroup is None and e.class_name is not None]
        for name in ("marks_found", "false_marks")
    )
    if not found:
        return None
    hits = [round((one.value or 0) * one.n_positive) for one in found]
    if len(found) > MOST_COUNTS:
        rate = sum(other.value or 0 for other in false)
        return f"{sum(hits)} of {sum(one.n_positive for one in found)} true marks found, {_rate_words(rate)}"
    return "; ".join(
        (
            f"{n_hits} of {one.n_positive} {one.class_name} found ({estimate_words(one)})"
            if one.n_positive
            else f"no true {one.class_name} to be found"
        )
        + f", {_rate_words(other.value or 0)}"
        for n_hits, one, other in zip(hits, found, false, strict=True)
    )


def restored_words(estimates: Sequence[Estimate]) -> str | None:
    """SSIM and PSNR before and after, at each strength of noise; None where that was not measured."""
    parts = []
    for noise, row in _by_noise(estimates).items():
        if row["ssim"].value is None:
            parts.append(f"{noise}: {estimate_words(row['ssim'])}")
            continue
        parts.append(
            f"{noise}: SSIM from {number_words(row['ssim_noisy'].value or 0)} to {estimate_words(row['ssim'])}, PSNR "
            f"from {row['psnr_db_noisy'].value or 0:.1f} to {row['psnr_db'].value or 0:.1f} dB"
        )
    return "; ".join(parts) or None


def worsened_words(estimates: Sequence[Estimate], who: str = "This model") -> list[str]:
    """At which strengths of noise a model gives images back that are further from the truth than the noisy ones.

    A mean over all strengths hides it: what is won where noise is strong outweighs what is lost where it is weak.
    """
    said = []
    for noise, row in _by_noise(estimates).items():
        falls = [
            f"{name} from {words(noisy)} to {words(restored)}{unit}"
            for key, name, words, unit in (
                ("ssim", "SSIM", number_words, ""),
                ("psnr_db", "PSNR", "{:.2f}".format, " dB"),
            )
            if (restored := row[key].value) is not None
            and (noisy := row[f"{key}_noisy"].value) is not None
            and restored < noisy
        ]
        if falls:
            said.append(f"{who} makes images with {noise} worse: {', '.join(falls)}")
    return said


def _by_noise(estimates: Sequence[Estimate]) -> dict[str, dict[str, Estimate]]:
    rows: dict[str, dict[str, Estimate]] = {}
    for one in estimates:
        if one.metric in ("ssim", "ssim_noisy", "psnr_db", "psnr_db_noisy") and one.subgroup is not None:
            rows.setdefault(one.subgroup, {})[one.metric] = one
    return rows


def _rate_words(rate: float) -> str:
    if rate == 0:
        return "no false marks"
    return f"{rate:.1f} false marks an image" if rate >= 0.1 else f"{100 * rate:.2g} false marks in 100 images"


def threshold_words(thresholds: Sequence[float]) -> str:
    """From which score on a mark counts.

    >>> threshold_words([0.7045]), threshold_words([0.61, 0.7])
    ('at a score of 0.70 or higher', 'at the score that each fold chose (0.61 to 0.70) or higher')
    """
    low, high = score_words(min(thresholds)), score_words(max(thresholds))
    if low == high:
        return f"at a score of {low} or higher"
    return f"at the score that each fold chose ({low} to {high}) or higher"


def level_words(level: float) -> str:
    """The level of an interval.

    >>> level_words(0.95), level_words(0.995)
    ('95%', '99.5%')
    """
    return f"{100 * level:.6g}%"


def estimate_words(estimate: Estimate) -> str:
    """The value with its interval, or why there is none."""
    if estimate.value is None:
        return f"not defined: {estimate.method.removeprefix('undefined').lstrip(': ')}"
    value = number_words(estimate.value)
    if estimate.low is None or estimate.high is None:
        return f"{value} (no interval)"
    return f"{value} [{number_words(estimate.low)}, {number_words(estimate.high)}]"


def drawn_box(region: Region) -> Box:
    """The box around what is drawn of a mark: of its mask, where it has pixels, which a model's box need not fit."""
    return region.mask.box if region.mask is not None and region.mask.area_px else region.box


def place_words(mark: Finding) -> str:
    """The left and top end of a mark as it is drawn, in pixels."""
    if mark.region is None:
        return ""
    left, top, _, _ = drawn_box(mark.region)
    return f"{left:.0f}, {top:.0f}"


def size_words(mark: Finding, image: Image | None) -> str:
    """Width x height of a mark as it is drawn, in mm where the file says how large a pixel is, else in pixels."""
    if mark.region is None:
        return ""
    left, top, right, bottom = drawn_box(mark.region)
    if image is None or image.geometry is None:
        return f"{right - left:.0f} x {bottom - top:.0f} px"
    column_mm, row_mm, _ = image.geometry.spacing_mm
    return f"{(right - left) * column_mm:.1f} x {(bottom - top) * row_mm:.1f} mm"


_OWN_SCALE = "A score is the model's own scale. It is not the probability of a disease in a patient."
_MADE_UP = (
    "A restored image shows what the model takes for likely. It can smooth away what is small and faint, and it can "
    "draw what is not there: what matters is to be seen in the original too."
)
_OTHER_NOISE = (
    "Noise was simulated: independent in every pixel, and of equal strength everywhere. That of a detector or a "
    "reconstruction can be of another kind."
)
LIMITS = {
    "training": (
        "The numbers were measured on held-out parts of one data set. Other hospitals, scanners and patients can "
        "differ; measure on their images before trusting the model there.",
        "The intervals say what drawing other patients of the same kind would change. They do not cover chance in "
        "training, wrong labels, a data set that leaves out the hard cases, or the choice of this recipe among several "
        "on the same data.",
        "Images with equal pixels are kept on one side. Nearly equal ones on both sides are counted above, where there "
        "are any, also mirrored or turned by quarters if they are flat; copies that were cut, moved, or turned by less "
        "are not noticed.",
        _OWN_SCALE,
    ),
    "evaluation": (
        "The numbers hold for images like these; patients of other hospitals and scanners can differ.",
        "The intervals say what drawing other patients of the same kind would change. They do not cover wrong labels "
        "or a data set that leaves out the hard cases.",
        "Images are compared with those of the training, pixel for pixel; patients are not. Where the model learned "
        "from other images of a patient, these numbers are too good.",
        _OWN_SCALE,
    ),
    "reading": (
        "The truth about these images is not known here: nothing on this page says whether an answer is right.",
        "The model knows only the classes that it was taught, and answers with these also for images of another kind, "
        "another part of the body, or with inverted grey values.",
        _OWN_SCALE,
    ),
}
"""What no report of a kind can say, in plain words."""

LIMITS_OF_ROWS = {
    "training": (
        "The numbers were measured on held-out parts of one table. Other hospitals, laboratories and patients can "
        "differ; measure on their rows before trusting the model there.",
        "The intervals say what drawing other patients of the same kind would change. They do not cover chance in "
        "training, wrong labels, a table that leaves out the hard cases, or the choice of this recipe among "
        "several on the same data.",
        "Rows with equal measurements are kept on one side. Copies that were changed, be it in one digit, are not "
        "noticed.",
        _OWN_SCALE,
    ),
    "evaluation": (
        "The numbers hold for rows like these; patients of other hospitals and laboratories can differ.",
        "The intervals say what drawing other patients of the same kind would change. They do not cover wrong "
        "labels or a table that leaves out the hard cases.",
        "Rows are compared with those of the training, measurement by measurement; patients are not. Where the "
        "model learned from other rows of a patient, these numbers are too good.",
        _OWN_SCALE,
    ),
    "reading": (
        "The truth about these rows is not known here: nothing on this page says whether an answer is right.",
        "The model knows only the classes that it was taught, and answers with these also where measurements are in "
        "other units, were made in another way, or are far from all that it learned from.",
        _OWN_SCALE,
    ),
}
"""The same of rows of measurements."""

LIMITS_OF_MARKING = {
    **LIMITS,
    "reading": (
        LIMITS["reading"][0],
        "An image without marks is not an image without disease: the model knows only the classes that it was taught, "
        "in about the size and the colours in which they were shown to it.",
        "Images of another kind, another part of the body, or with inverted grey values can get marks too.",
        _OWN_SCALE,
    ),
}
"""The same of models that mark."""

LIMITS_OF_RESTORING = {
    "training": (*LIMITS["training"][:-1], _OTHER_NOISE, _MADE_UP),
    "evaluation": (*LIMITS["evaluation"][:-1], _OTHER_NOISE, _MADE_UP),
    "reading": (
        _MADE_UP,
        "How much noise these images have, and how near the restored ones come to the truth, is not known here.",
        "The model says nothing about disease.",
    ),
}
"""The same of models that restore images."""
