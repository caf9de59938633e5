"""A recipe to begin with: what a data set looks like decides, and every choice says why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from overread.data.manifest import Case, Manifest
from overread.errors import InputError, UnreadableImage
from overread.evaluation.matching import overlaps
from overread.image import Image
from overread.inference.merging import SAME_PLACE

LOOKED_AT = 12
"""Images that are read to see what they are like, spread over the data set."""

# (up to this many pixels on the longer side, side to bring images to)
SIDES_FOR_LABELS = ((32, 112), (64, 128), (128, 160), (None, 224))

# (up to this many cases, epochs, cases a step)
LABEL_TRAINING = ((100, 40, 8), (400, 30, 16), (2000, 20, 32), (10_000, 10, 32), (None, 5, 64))
ROW_TRAINING = ((100, 60, 8), (1000, 30, 32), (10_000, 20, 64), (None, 10, 256))
MARK_TRAINING = ((50, 60, 2), (200, 40, 4), (1000, 20, 4), (None, 10, 8))

LONGEST_FOR_MARKS = 768
"""Pixels of the longer side beyond which marking takes too long on a small machine."""

LONGEST_FOR_VOLUMES = 64
"""Voxels a side beyond which a network for volumes takes too long, and too much memory, on a small machine."""

WANTED_MARK_SIDE = 32.0
"""Pixels that the middle lesion should measure; smaller ones have too few features to be told apart."""

CROPS = (256, 384, 512)
MARKS_A_CROP = 5
"""A crop is at least this many times as wide as the middle lesion, so that it shows lesions whole."""

FOLDS = 5
PATIENTS_FOR_VALIDATION = 40

Lines = list[tuple[str, str]]
"""A line of TOML and why it is so."""


@dataclass(frozen=True)
class Look:
    """What a few images of a data set are like."""

    images: tuple[Image, ...]

    @classmethod
    def at(cls, cases: Sequence[Case]) -> Look:
        """Read a few images, spread evenly.

        Raises:
            InputError: none can be read, or some are volumes and some are not.
        """
        from overread import io

        chosen = sorted({round(place) for place in np.linspace(0, len(cases) - 1, min(LOOKED_AT, len(cases)))})
        images = []
        for ref in [ref for index in chosen for ref in cases[index].images[:1]]:
            try:
                images.append(io.read(ref.path, item=ref.item))
            except UnreadableImage:  # `overread inspect` names them all
                continue
        if not images:
            raise InputError(
                f"None of {len(chosen)} images that were looked at can be read. See: overread inspect DATA"
            )
        if len({len(image.shape) for image in images}) > 1:
            raise InputError("Some of the images are flat and some are volumes. Part them into data sets of one kind.")
        return cls(tuple(images))

    @property
    def side(self) -> int:
        """The longer side of the middle image, in pixels."""
        return int(median(max(image.shape[-2:]) for image in self.images))

    @property
    def slices(self) -> frozenset[int]:
        """How many slices volumes have; empty for flat images."""
        return frozenset(image.shape[0] for image in self.images if len(image.shape) == 3)

    @property
    def size(self) -> str:
        """Sizes in words, ([slice x] row x column)."""
        sizes = Counter(" x ".join(map(str, image.shape)) for image in self.images)
        return f"{sizes.most_common(1)[0][0]} px" + (" and others" if len(sizes) > 1 else "")

    @property
    def channels(self) -> frozenset[int]:
        """How many channels images have."""
        return frozenset(image.channels for image in self.images)

    @property
    def is_grey(self) -> bool:
        """Whether all images are grey, also where they are kept as colours."""
        return all(np.ptp(image.pixels, axis=0).max() == 0 for image in self.images)

    @property
    def is_hu(self) -> bool:
        """Whether all images are in Hounsfield units."""
        return all(image.units == "HU" for image in self.images)

    @property
    def is_deep(self) -> bool:
        """Whether images have more than 8 bits, so that a few bright pixels can set the range."""
        return any(image.pixels.max() > 255 or image.pixels.min() < 0 for image in self.images)


def propose(manifest: Manifest) -> str:
    """A sensible recipe for a data set, as TOML with a comment behind each choice.

    Raises:
        InputError: no image can be read, there is no case to learn from, or marks were made in volumes.
    """
    cases = [case for case in manifest.cases if case.split != "test"]
    if not cases:
        raise InputError(f"'{manifest.name}' has no case to learn from outside its test split.")
    if manifest.measurements:
        size = f"{len(manifest.measurements)} measurements"
        return _written(manifest, cases, "mlp", size, _for_rows(manifest, cases))
    look = Look.at(cases)
    if look.slices:
        family = "cnn" if len(look.slices) == 1 else "lstm"
        return _written(manifest, cases, family, look.size, _for_volumes(look, manifest, cases))
    sequences = any(len(case.images) > 1 for case in cases)
    family = "mask-rcnn" if manifest.marks_lesions else "lstm" if sequences else "cnn"
    patients = len({case.patient_id for case in cases})
    resize = _resize_for_marks(look, cases) if manifest.marks_lesions else _resize_for_labels(look)
    parts = {
        "data": _data(manifest, cases),
        "preprocessing": [("steps = [", ""), *_steps(look, resize), ("]", "")],
        "augmentation": [
            *([_crop(look, cases)] if manifest.marks_lesions else []),
            *_augmentation(look, boxes=manifest.task == "boxes"),
        ],
        "model": [(f'family = "{family}"', "reads the images of a case in their order")]
        if sequences
        else [
            (f'family = "{family}"', "marks lesions" if manifest.marks_lesions else "classifies whole images"),
            ('backbone = "tf_efficientnet_lite0"', "small enough to train without a graphics card"),
            ('weights = "imagenet"', "a network that has seen photographs needs fewer medical images"),
        ],
        "training": [
            *_training(cases, marks=manifest.marks_lesions),
            ("learning_rate = 0.001", "from scratch: nothing was learned before")
            if sequences
            else ("learning_rate = 0.0005", "lower than from scratch: the weights have learned something already"),
            *_kept(patients),
        ],
        **({"inference": _inference()} if _parts_places(manifest, cases) else {}),
    }
    return _written(manifest, cases, family, look.size + (" in sequences" if sequences else ""), parts)


def _written(manifest: Manifest, cases: Sequence[Case], family: str, size: str, parts: Mapping[str, Lines]) -> str:
    patients = len({case.patient_id for case in cases})
    of = "cases" if family == "lstm" else f"{manifest.unit}s"
    lines = [
        f"# Proposed for {_in_comment(manifest.name)}: {manifest.task}, {len(cases)} {of} of {patients} patients, "
        f"{size}.",
        "# A beginning, made by simple rules; see what every setting is: overread recipe show THIS-FILE",
        f'name = "{_slug(manifest.name)}-{family}"',
    ]
    for section, told in parts.items():
        lines += ["", f"[{section}]", *(f"{line}  # {why}" if why else line for line, why in told)]
    return "\n".join(lines) + "\n"


def _data(manifest: Manifest, cases: Sequence[Case]) -> Lines:
    patients = len({case.patient_id for case in cases})
    splits = {case.split for case in cases}
    lines: Lines
    if manifest.marks_lesions and splits == {"train", "val"}:
        lines = [
            ('scheme = "official"', "the data set has its own val split; learning to mark takes too long for folds")
        ]
    elif manifest.marks_lesions:
        lines = [
            ('scheme = "hold-out"', "learning to mark takes too long for folds"),
            ("held_out = 0.2", "a fifth of the patients is measured on and never learned from"),
        ]
    else:
        name, rarest = _rarest(manifest, cases)
        if rarest < 2:
            raise InputError(
                f"Class '{name}' has {rarest} patient; to learn it and to measure it takes at least 2. Check that its "
                "name is not misspelt, merge it with another, or add cases. See: overread inspect DATA"
            )
        folds = min(FOLDS, rarest)
        why = "the usual number" if folds == FOLDS else f"fewer than {FOLDS}: {_in_comment(name)} has {rarest} patients"
        lines = [
            ('scheme = "k-fold"', "every case is measured once, by a model that never saw its patient"),
            (f"folds = {folds}", why),
        ]
    if patients < PATIENTS_FOR_VALIDATION:
        lines.append(("validation = 0.0", f"{patients} patients are too few to give some away for choosing the epoch"))
    return lines


def _for_rows(manifest: Manifest, cases: Sequence[Case]) -> dict[str, Lines]:
    """The sections of a recipe for rows of measurements."""
    patients = len({case.patient_id for case in cases})
    epochs, batch = next(rest for up_to, *rest in ROW_TRAINING if up_to is None or len(cases) <= up_to)
    scaling = "    # measurements differ in units and size; learned anew from the training part of each fold\n"
    return {
        "data": _data(manifest, cases),
        "preprocessing": [
            ("steps = [", ""),
            (scaling + '    { step = "z-score", scope = "training" },', ""),
            ("]", ""),
        ],
        "model": [
            ('family = "mlp"', "a network that takes rows of measurements"),
            ("hidden = [32]", "one small layer: a larger network learns a small table by heart"),
        ],
        "training": [
            (f"epochs = {epochs}", f"enough for {len(cases)} rows"),
            (f"batch_size = {batch}", "many steps an epoch for few rows"),
            ("learning_rate = 0.005", "a small network takes large steps"),
            *_kept(patients),
        ],
    }


def _for_volumes(look: Look, manifest: Manifest, cases: Sequence[Case]) -> dict[str, Lines]:
    """The sections of a recipe for volumes and clips: one network for all slices, or one that reads them in turn."""
    if manifest.marks_lesions:
        raise InputError(f"'{manifest.name}' has marks in volumes; lesions are marked in flat images only.")
    patients = len({case.patient_id for case in cases})
    alike = len(look.slices) == 1
    side = min(look.side, LONGEST_FOR_VOLUMES)
    depth = f", slices = {min(max(look.slices), LONGEST_FOR_VOLUMES)}" if alike else ""
    why = f"from {look.size}; a volume has many times the pixels of an image"
    model = [
        ('family = "cnn"', "all volumes have as many slices, so that one network can look at all of them at once"),
        ('backbone = "resnet10"', "small enough to train without a graphics card"),
        ("width = 0.5", "likewise"),
        ('weights = "none"', "there are none at hand for volumes"),
    ]
    if not alike:
        model = [('family = "lstm"', "volumes have different numbers of slices, which it reads one after the other")]
    return {
        "data": _data(manifest, cases),
        "preprocessing": [
            ("steps = [", ""),
            *_steps(look, (f'{{ step = "resize", height = {side}, width = {side}{depth} }}', why)),
            ("]", ""),
        ],
        "augmentation": [('set = "volume"', "patients do not lie alike; no side is taken for the other")],
        "model": model,
        "training": [
            *_training(cases, marks=False),
            ("learning_rate = 0.001", "from scratch: nothing was learned before"),
            *_kept(patients),
        ],
    }


def _rarest(manifest: Manifest, cases: Sequence[Case]) -> tuple[str, int]:
    """The class that the fewest patients have (of several labels also: lack), and how many; those of nobody apart."""
    patients: dict[str, set[str]] = {name: set() for name in manifest.classes}
    for case in cases:
        for name, present in case.labels.items():
            if present:
                patients[name].add(case.patient_id)
            elif present is False and manifest.task == "multi-label":
                patients.setdefault(f"not {name}", set()).add(case.patient_id)
    patients = {name: who for name, who in patients.items() if who}
    if not patients:
        raise InputError(f"No case of '{manifest.name}' has a label that is known. Label some.")
    name = min(patients, key=lambda name: (len(patients[name]), name))
    return name, len(patients[name])


def _steps(look: Look, resize: tuple[str, str]) -> Lines:
    lines: Lines = []
    if look.is_grey and look.channels != {1}:
        lines.append(('{ step = "grey" }', "the images looked at are grey, though kept as colours"))
    elif len(look.channels) > 1:
        lines.append(('{ step = "grey" }', "some images are grey and some in colour; a network needs them alike"))
    if look.is_hu:
        lines.append(('{ step = "window", centre = 40.0, width = 400.0 }', "CT in Hounsfield units: soft tissue"))
    elif look.is_deep:
        lines.append(
            (
                '{ step = "percentile-clip", low = 0.5, high = 99.5 }',
                "more than 8 bits: a few bright pixels would set the range",
            )
        )
    lines.append(('{ step = "min-max", low = -1.0, high = 1.0 }', "the range that the network was made for"))
    lines.append(resize)
    return [(f"    # {why}\n    {line},", "") for line, why in lines]


def _resize_for_labels(look: Look) -> tuple[str, str]:
    side = next(to for up_to, to in SIDES_FOR_LABELS if up_to is None or look.side <= up_to)
    way = "enlarged: the network halves its picture five times" if side > look.side else "as large as it takes to see"
    return f'{{ step = "resize", height = {side}, width = {side} }}', f"from {look.size}; {way}"


def _mark_side(cases: Sequence[Case]) -> float:
    """The side of the middle mark, in pixels as read (square root of its box's area)."""
    boxes = [mark.region.box for case in cases for mark in case.marks or () if mark.region is not None]
    sides = [((right - left) * (bottom - top)) ** 0.5 for left, top, right, bottom in boxes]
    return median(sides) if sides else WANTED_MARK_SIDE


def _factor(cases: Sequence[Case]) -> float:
    return 2.0 if _mark_side(cases) < WANTED_MARK_SIDE else 1.0


def _resize_for_marks(look: Look, cases: Sequence[Case]) -> tuple[str, str]:
    factor = _factor(cases)
    if look.side > LONGEST_FOR_MARKS:
        why = f"{look.size} would take too long"
    elif factor > 1:
        why = f"marks measure about {_mark_side(cases):.0f} px: enlarged, so that small ones can be told apart"
    else:
        why = f"marks measure about {_mark_side(cases):.0f} px: large enough as they are"
    return f'{{ step = "resize", factor = {factor}, longest = {LONGEST_FOR_MARKS} }}', why


def _crop(look: Look, cases: Sequence[Case]) -> tuple[str, str]:
    scale = min(_factor(cases), LONGEST_FOR_MARKS / look.side)
    wanted = MARKS_A_CROP * _mark_side(cases) * scale
    side = next((side for side in CROPS if side >= wanted), CROPS[-1])
    return f"crop = {side}", "squares of one size train quickly; whole images are read when it is used"


def _augmentation(look: Look, *, boxes: bool) -> Lines:
    lines = [
        ("flip = true", "set it to false if left and right mean something in these images"),
        ("shift = 0.05", "lesions do not always lie at the same place"),
        ("brightness = 0.1", "machines differ"),
        ("contrast = 0.1", "machines differ"),
    ]
    if look.is_grey and boxes:
        return lines  # a box that is turned no longer fits its lesion
    if look.is_grey:
        return [*lines, ("rotation_degrees = 10.0", "patients do not always lie straight")]
    return [
        *lines,
        ("flip_vertical = true", "colour, so probably a microscope or a lens, which has no up and down"),
        ("quarter_turns = true", "likewise"),
    ]


def _training(cases: Sequence[Case], *, marks: bool) -> Lines:
    table = MARK_TRAINING if marks else LABEL_TRAINING
    epochs, batch = next(rest for up_to, *rest in table if up_to is None or len(cases) <= up_to)
    return [
        (f"epochs = {epochs}", f"enough for {len(cases)} images"),
        (
            f"batch_size = {batch}",
            "fits into a small machine's memory" if marks else "many steps an epoch for few images",
        ),
    ]


def _kept(patients: int) -> Lines:
    few = patients < PATIENTS_FOR_VALIDATION
    return [('keep = "last"', "there is no validation part to choose by")] if few else []


def _inference() -> Lines:
    return [("one_class_a_place = true", "in these data, no lesion is marked as two classes")]


def _parts_places(manifest: Manifest, cases: Sequence[Case]) -> bool:
    """Whether there are marks of several classes, and never of two at one place."""
    if not manifest.marks_lesions or len(manifest.classes) < 2:
        return False
    for case in cases:
        marks = [(mark.label, mark.region) for mark in case.marks or () if mark.region is not None]
        regions = [region for _, region in marks]
        same = overlaps(regions, regions, "boxes") >= SAME_PLACE
        if any(marks[a][0] != marks[b][0] for a, b in np.argwhere(same)):
            return False
    return True


def _slug(name: str) -> str:
    """A name fit for a recipe and a folder."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"


def _in_comment(name: str) -> str:
    """A name that cannot end its comment; TOML allows no control characters there."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
