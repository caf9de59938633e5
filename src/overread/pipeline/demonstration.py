"""The whole line on simulated images, for a first look."""

from __future__ import annotations

import shutil
from pathlib import Path

from overread import pipeline
from overread.data.phantom import write_phantom
from overread.data.sources import open_data
from overread.errors import OutputExists
from overread.progress import Progress
from overread.recipe import load_recipe

MARKER = "OVERREAD-DEMO"
PATIENTS = 96
SLICES = 3
SIZE = 256
QUICK_PATIENTS = 12
QUICK_SLICES = 2
QUICK_SIZE = 128


def run_demo(out: Path, *, quick: bool, device: str, progress: Progress) -> Path:
    """Make simulated patients, train a classifier and a marker, read patients that neither has seen.

    Args:
        out: folder; an earlier demo in it is gone on with, anything else is left alone.
        quick: fewer patients and one epoch, to see that everything works; what it learns is worth nothing.
        device: "auto", "cpu" or "cuda".
        progress: shows it.

    Returns:
        The page to open first: the reading of unseen patients.

    Raises:
        OutputExists: `out` holds something that is no demo.
    """
    _mark(out, quick=quick)
    data = out / "simulated-ct"
    if not data.exists():
        progress.say("making simulated CT of patients who do not exist")
        patients, slices, size = (QUICK_PATIENTS, QUICK_SLICES, QUICK_SIZE) if quick else (PATIENTS, SLICES, SIZE)
        write_phantom(data, patients=patients, slices=slices, size=size, seed=0, progress=progress)
    classes, marks = data / "labels.csv", data / "marks.json"
    progress.say("step 1 of 3: learning to tell normal, stone and tumour")
    classifier = pipeline.train(
        _recipe("demo-cnn", out, quick=quick), classes, out / "classifier", device=device, progress=progress
    )
    progress.say("step 2 of 3: learning to mark stones and tumours")
    marker = pipeline.train(
        _recipe("demo-mask-rcnn", out, quick=quick), marks, out / "marker", device=device, progress=progress
    )
    progress.say("step 3 of 3: reading patients that neither has seen")
    unseen = [case.images[0].path for case in open_data(marks).cases if case.split == "test"]
    for bundle, name, truth in ((classifier, "classified", classes), (marker, "marked", marks)):
        for folder in (out / name, out / f"{name}-measured"):
            shutil.rmtree(folder, ignore_errors=True)  # made by an earlier demo: the marker says so
        pipeline.read(bundle, unseen, out / name, device=device, progress=progress)
        pipeline.evaluate(bundle, truth, out / f"{name}-measured", split="test", device=device, progress=progress)
    return out / "marked" / "report.html"


def _mark(out: Path, *, quick: bool) -> None:
    """Take a folder for a demo, unless it holds something else."""
    marker = out / MARKER
    how = "'overread demo --quick'" if quick else "'overread demo'"
    words = f"Made by {how}: simulated images. Can be deleted at any time.\n"
    if marker.exists() and marker.read_text(encoding="utf-8") != words:
        raise OutputExists(
            f"'{out}' holds a demo that was not made by {how}, and the two do not mix. Delete it, or name another "
            "folder with --out."
        )
    if not marker.exists() and out.exists() and (out.is_file() or any(out.iterdir())):
        raise OutputExists(f"'{out}' holds something that is no demo. Nothing was changed; name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    marker.write_text(words, encoding="utf-8")


def _recipe(name: str, out: Path, *, quick: bool) -> str | Path:
    """The name of a shipped recipe, or the file of the same one with a single epoch."""
    if not quick:
        return name
    recipe = load_recipe(name)
    short = recipe.with_training(epochs=1)
    path = out / f"{name}-quick.toml"
    path.write_text(short.to_toml(whole=False), encoding="utf-8")
    return path
