"""The whole line on simulated images, for a first look."""

from __future__ import annotations

import shutil
from pathlib import Path

from overread import pipeline
from overread.data.phantom import write_phantom
from overread.data.sources import open_data
from overread.errors import OutputExists
from overread.progress import Progress

MARKER = "OVERREAD-DEMO"
PATIENTS = 48
SLICES = 5


def run_demo(out: Path, *, device: str, progress: Progress) -> Path:
    """Make simulated patients, train a classifier and a marker, read patients that neither has seen.

    Args:
        out: folder; an earlier demo in it is gone on with, anything else is left alone.
        device: "auto", "cpu" or "cuda".
        progress: shows it.

    Returns:
        The page to open first: the reading of unseen patients.

    Raises:
        OutputExists: `out` holds something that is no demo.
    """
    if out.exists() and not (out / MARKER).exists() and (out.is_file() or any(out.iterdir())):
        raise OutputExists(f"'{out}' holds something that is no demo. Nothing was changed; name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("Made by 'overread demo': simulated images. Can be deleted at any time.\n")
    data = out / "simulated-ct"
    if not data.exists():
        progress.say("making simulated CT of patients who do not exist")
        write_phantom(data, patients=PATIENTS, slices=SLICES, seed=0, progress=progress)
    classes, marks = data / "labels.csv", data / "marks.json"
    progress.say("step 1 of 3: learning to tell normal, stone and tumour")
    classifier = pipeline.train("demo-cnn", classes, out / "classifier", device=device, progress=progress)
    progress.say("step 2 of 3: learning to mark stones and tumours")
    marker = pipeline.train("demo-mask-rcnn", marks, out / "marker", device=device, progress=progress)
    progress.say("step 3 of 3: reading patients that neither has seen")
    unseen = [case.images[0].path for case in open_data(marks).cases if case.split == "test"]
    for bundle, name, truth in ((classifier, "classified", classes), (marker, "marked", marks)):
        for folder in (out / name, out / f"{name}-measured"):
            shutil.rmtree(folder, ignore_errors=True)  # made by an earlier demo: the marker says so
        pipeline.read(bundle, unseen, out / name, device=device, progress=progress)
        pipeline.evaluate(bundle, truth, out / f"{name}-measured", split="test", device=device, progress=progress)
    return out / "marked" / "report.html"
