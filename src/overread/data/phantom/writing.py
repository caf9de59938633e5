"""Write a simulated data set: DICOM files, labels, marks, and the words that it is simulated."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overread.data.phantom.acquisition import Scan, scan_patient
from overread.data.phantom.inclusions import LESIONS, Kind
from overread.data.phantom.instance import patient_template, slice_instance
from overread.data.phantom.space import THICKNESS_MM, Grid
from overread.errors import InputError, OutputExists
from overread.finding import Mask
from overread.progress import Progress, Silent
from overread.provenance import seed_for

NORMAL = "normal"
_TEST_SHARE = 0.25
_README = """\
THESE IMAGES ARE SIMULATED. NO PATIENT WAS EVER EXAMINED FOR THEM.

They are drawn by a program from simple shapes, to show and to test the software. They look like computed tomography of
the abdomen and are much simpler than it. A model that was trained on them has learned nothing about real
patients: neither it nor these images may ever be used for diagnosis, and a number measured on them says nothing about
how well real patients would be read.

images/     one DICOM file a slice. Every file says in its header that it is simulated.
labels.csv  file, label, patient_id, split. The label is that of the slice: normal, stone or tumour. A patient with a
            lesion also has slices that do not show it; these are normal.
marks.json  the outline of every lesion in every slice that shows it (COCO format, run-length encoded).

No patient is in both splits: "train" is for learning, "test" for reading what was never seen.
"""


@dataclass(frozen=True)
class Phantom:
    """Where a simulated data set was written.

    Args:
        folder: the whole.
        images: the DICOM files, sorted by patient, then from head to foot.
        labels: the table of labels.
        marks: the COCO file of outlines.
        readme: the words that all this is simulated.
    """

    folder: Path
    images: tuple[Path, ...]
    labels: Path
    marks: Path
    readme: Path


@dataclass(frozen=True)
class _Patient:
    number: int
    lesion: Kind | None
    split: str

    @property
    def patient_id(self) -> str:
        return f"SIM-{self.number:04d}"


@dataclass(frozen=True, eq=False)
class _Slice:
    file: str
    label: str
    patient: _Patient
    marks: tuple[dict[str, Any], ...]


def write_phantom(
    folder: Path,
    *,
    patients: int = 60,
    slices: int = 6,
    size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Phantom:
    """Write simulated abdominal CT with kidney stones and with tumours, to try the software on.

    A third of the patients is normal, a third has kidney stones (3 to 15 mm, 300 to 1200 HU), a third has tumours (8
    to 40 mm, in the liver or a kidney, 10 to 35 HU from the organ around). All may have cysts, calcified vessels and
    dense bowel content, which are harmless and not marked. The class is that of the *slice*: a slice of a patient
    with a lesion that does not show it, or only grazes it, is "normal". The same arguments give the same bytes.

    Args:
        folder: where to write; it must not exist yet, or be empty. It appears whole or not at all.
        patients: how many, at least 3 (one of each class). A quarter of each class is split "test".
        slices: how many a patient, 5 mm apart.
        size: rows and columns; the field of view is 384 mm, so that 128 gives 3 mm a pixel.
        seed: of everything that is drawn.
        progress: shows how far it is.

    Returns:
        Where everything is.

    Raises:
        OutputExists: where the folder holds something already, or is a file.
        InputError: for numbers outside 3 to 9999 patients, 1 to 99 slices, 64 to 1024 rows, or a negative seed.
    """
    if not 3 <= patients <= 9999 or not 1 <= slices <= 99 or not 64 <= size <= 1024 or seed < 0:
        raise InputError(
            f"A phantom has 3 to 9999 patients, 1 to 99 slices each, 64 to 1024 rows and a seed of 0 or more; found "
            f"patients={patients}, slices={slices}, size={size}, seed={seed}. Choose numbers within these."
        )
    _refuse_taken(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        (partial / "images").mkdir(parents=True)
        rows: list[_Slice] = []
        drawn = _draw_patients(patients, seed)
        for patient in (progress or Silent()).track(drawn, what="simulating patients", total=patients):
            rng = np.random.default_rng([seed, patient.number])
            grid = Grid(size, slices, top_mm=THICKNESS_MM * (slices - 1) / 2 + round(float(rng.uniform(-10, 10)), 1))
            rows.extend(_write_patient(partial, patient, scan_patient(grid, patient.lesion, rng)))
        _write_labels(partial / "labels.csv", rows)
        _write_marks(partial / "marks.json", rows, size=size, seed=seed)
        (partial / "README.txt").write_text(_README, encoding="utf-8", newline="\n")
        _refuse_taken(folder)
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Phantom(
        folder,
        tuple(folder / row.file for row in rows),
        folder / "labels.csv",
        folder / "marks.json",
        folder / "README.txt",
    )


def _refuse_taken(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise OutputExists(f"'{folder.name}' holds something already; simulated images are written to an empty folder.")


def _draw_patients(patients: int, seed: int) -> list[_Patient]:
    """Who has what, in an order that says nothing, and a quarter of each class kept for the test."""
    rng = np.random.default_rng(seed_for(seed, "phantom patients"))
    kinds: tuple[Kind | None, ...] = (None, *LESIONS)
    lesions = [kinds[index] for index in rng.permutation(np.arange(patients) % len(kinds))]
    split = ["train"] * patients
    for kind in kinds:
        same = [index for index, lesion in enumerate(lesions) if lesion == kind]
        tests = max(round(_TEST_SHARE * len(same)), 1) if len(same) > 1 else 0
        for index in rng.permutation(same)[:tests]:
            split[index] = "test"
    return [_Patient(index + 1, lesions[index], split[index]) for index in range(patients)]


def _write_patient(folder: Path, patient: _Patient, scan: Scan) -> list[_Slice]:
    # From the pixels: other images never have the same UID, whatever made them differ.
    key = hashlib.sha256(scan.hu.astype("<i2").tobytes() + patient.patient_id.encode()).hexdigest()
    template = patient_template(patient_id=patient.patient_id, key=key, grid=scan.grid)
    rows = []
    for index, hu in enumerate(scan.hu):
        file = f"images/sim-{patient.number:04d}-{index + 1:02d}.dcm"
        instance = slice_instance(template, hu, index=index, key=key, grid=scan.grid)
        instance.save_as(folder / file, enforce_file_format=True)
        marks = tuple(_slice_marks(scan, index, patient))
        rows.append(_Slice(file, marks[0]["kind"] if marks else NORMAL, patient, marks))
    return rows


def _slice_marks(scan: Scan, index: int, patient: _Patient) -> list[dict[str, Any]]:
    marks = []
    for number, (inclusion, masks) in enumerate(zip(scan.inclusions, scan.masks, strict=True), start=1):
        if not masks[index].any():
            continue
        mask = Mask.from_array(masks[index])
        left, top, right, bottom = mask.box
        marks.append(
            {
                "kind": inclusion.kind,
                "segmentation": mask.to_coco(),
                "bbox": [left, top, right - left, bottom - top],
                "area": mask.area_px,
                "iscrowd": 0,
                "lesion_id": f"{patient.patient_id}-{number}",
                "organ": "liver" if inclusion.organ.name == "LIVER" else "kidney",
                "diameter_mm": round(inclusion.diameter_mm, 2),
                "hu": round(inclusion.hu, 1),
                "contrast_hu": round(inclusion.contrast_hu, 1),
            }
        )
    return marks


def _write_labels(path: Path, rows: Sequence[_Slice]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", "patient_id", "split"])
        writer.writerows([row.file, row.label, row.patient.patient_id, row.patient.split] for row in rows)


def _write_marks(path: Path, rows: Sequence[_Slice], *, size: int, seed: int) -> None:
    categories = {kind: number for number, kind in enumerate(LESIONS, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, row in enumerate(rows, start=1):
        images.append(
            {
                "id": image_id,
                "file_name": row.file,
                "width": size,
                "height": size,
                "patient_id": row.patient.patient_id,
                "split": row.patient.split,
            }
        )
        for mark in row.marks:
            told = {name: value for name, value in mark.items() if name != "kind"}
            category = categories[mark["kind"]]
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": category, **told})
    content = {
        "info": {
            "description": f"SIMULATED abdominal CT, seed {seed}. No patient. Never to be used for diagnosis.",
            "simulated": True,
        },
        "categories": [{"id": number, "name": kind, "supercategory": "lesion"} for kind, number in categories.items()],
        "images": images,
        "annotations": annotations,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")
