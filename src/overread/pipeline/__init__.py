"""Inspect, train, evaluate, compare, read: each verb in a few lines. Start reading here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overread import recipe as recipes
from overread.bundle import DENOISERS, Bundle
from overread.bundle_files import bundle_folder, load_bundle
from overread.data.manifest import Manifest, Problem, Split
from overread.data.prepared import PreparedImages
from overread.data.problems import problems
from overread.data.sources import open_data
from overread.errors import InputError, ManifestError, OutputExists, RecipeError, UnreadableImage
from overread.pipeline.folders import PLAN, fresh_folder, run_folder
from overread.progress import Progress, Silent
from overread.proposal import propose as proposed
from overread.recipe import Recipe
from overread.training.section import CHECKPOINTS
from overread.writing import write_whole

if TYPE_CHECKING:
    from overread.evaluation.estimate import Estimate
    from overread.export.comparison import Comparison
    from overread.finding import Prediction
    from overread.training.computing import Precision

# What imports torch is imported where it is used: a look at a data set or a recipe must not wait for it, and a
# reading must not wait for what only training needs.


@dataclass(frozen=True)
class Inspection:
    """What is in a data set, and what is wrong with it.

    Args:
        manifest: the data set.
        problems: errors and warnings.
        facts: name -> what the images have in common, for people.
    """

    manifest: Manifest
    problems: Sequence[Problem]
    facts: Mapping[str, Any]


def inspect(data: Path, *, source: str | None = None, progress: Progress | None = None) -> Inspection:
    """Say what a data set is and list what is wrong with it.

    Raises:
        SourceError: DATA is no known layout.
    """
    from overread.pipeline.parting import shared

    manifest = open_data(data, source=source)
    images = PreparedImages()
    found = _problems(manifest, images, progress or Silent())
    return Inspection(manifest, [*found, *shared(manifest, images)], images.summary(manifest))


def propose(data: Path, *, source: str | None = None, progress: Progress | None = None) -> str:
    """A recipe for a data set, as TOML with the reason behind each choice; it was tried on all cases.

    Raises:
        SourceError: DATA is no known layout.
        ManifestError: a data set with errors in it, such as images that cannot be read.
        InputError: cases that cannot be parted to learn and to measure, or that are not of one kind.
    """
    return _tried(open_data(data, source=source), PreparedImages(), progress or Silent())


def picture_augmentation(
    recipe: str | Path, out: Path, *, data: Path | None = None, source: str | None = None
) -> list[Path]:
    """Picture what each named set of augmentation, and the recipe's own, makes of images.

    Args:
        recipe: path or name of a recipe; its steps prepare the images.
        out: a new or empty folder for one PNG a set and `recipe.png`.
        data: a data set, whose first images are shown; None takes simulated CT, and says so.
        source: layout of the data set; None recognises it.

    Returns:
        The files.

    Raises:
        RecipeError: a recipe that is wrong.
        SourceError: DATA is no known layout.
        InputError: images that the recipe's steps do not fit.
        OutputExists: `out` holds something already.
    """
    from overread.pipeline.variations import write_variations

    chosen = recipes.load_recipe(recipe).resolved()
    with fresh_folder(out) as folder:
        names = [path.name for path in write_variations(chosen, data, folder, source=source)]
    return [out / name for name in names]


def train(
    recipe: str | Path | None,
    data: Path,
    out: Path,
    *,
    source: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    accept_leaks: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Cross-validated training; the same call goes on where an interrupted one stopped.

    Args:
        recipe: path or name of a recipe; None takes the run's own, `recipe.toml`, or where the run is new writes there
            what `propose` says.
        data: the data set; its official test split is not touched.
        out: folder of the run, new or of the same run.
        source: layout of the data set; None recognises it.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "float32" or "bf16"; None leaves it to the recipe.
        accept_leaks: use official splits that share patients or identical images as they are, and say so.
        progress: shows it.

    Returns:
        The folder, with `bundle/`, `evaluation.json`, `predictions.csv` and `report.html`.

    Raises:
        RecipeError: a recipe that is wrong, or does not fit this data set.
        ManifestError: a data set with errors in it, or one that cannot be parted as the recipe says.
        DataLeak: official splits, where the recipe uses them, that share patients or identical images.
        OutputExists: `out` holds something else, or a finished run that lost a file.
        BundleError: the same of its bundle.
        TooLittleMemory: it would not fit into memory.
        NotInstalled: a search that needs a package which is not there.
        InputError: "cuda" where there is none.
    """
    from overread.pipeline.assembly import check_family, device_for
    from overread.pipeline.cross_validation import cross_validate
    from overread.pipeline.denoisers import keep_denoisers, with_denoisers
    from overread.pipeline.parting import Alike, part
    from overread.pipeline.searching import check_search

    progress = progress or Silent()
    device_for(device)
    planned = recipe is None
    if planned and (out / PLAN).is_file():
        recipe = out / PLAN
    written = None if recipe is None else recipes.load_recipe(recipe).resolved()  # wrong ones, before data are read
    whole = open_data(data, source=source)
    images = PreparedImages()
    own = _tried(whole, images, progress) if written is None else None
    chosen = written or Recipe.from_toml(str(own), where="the proposal").resolved()
    if precision is not None:
        chosen = chosen.with_training(precision=precision)
    if chosen.data.truth == "images":
        whole = whole.for_images()
    manifest = _trainable(whole)
    chosen = with_denoisers(chosen, device=device)
    check_family(chosen, manifest)
    check_search(chosen, manifest)
    if accept_leaks and chosen.data.scheme != "official":
        raise RecipeError(
            f"--accept-leaks is for scheme = 'official', which uses the data set's own splits; '{chosen.data.scheme}' "
            "parts patients and copies itself. Leave it out."
        )
    with run_folder(
        out, recipe=chosen.digest, data=manifest.fingerprint, accept_leaks=accept_leaks, planned=planned
    ) as folder:
        if own is not None:
            write_whole(folder / PLAN, own)
        if (folder / "report.html").exists():
            _check_finished(folder)
            progress.say("this run is finished already; nothing was done again")
            _clear(folder)  # where it was killed at its last breath
            return out
        found = _problems(manifest, images, progress, folds=_folds(chosen))
        _stop_at_errors(manifest, found)
        progress.say(f"looking for patients and {manifest.unit}s on both sides")
        alike = Alike.of(manifest, whole, images)
        parting = part(chosen.data, alike, seed=chosen.seed, accept_leaks=accept_leaks)
        keep_denoisers(chosen, folder / DENOISERS)
        cross_validate(
            chosen, manifest, found, folder, parting=parting, images=images, device=device, progress=progress
        )
        _clear(folder)
    return out


def evaluate(
    bundle: Path,
    data: Path,
    out: Path,
    *,
    split: Split | None = None,
    source: str | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> list[Estimate]:
    """Measure a trained model on other data.

    Args:
        bundle: its folder, or the folder of its run.
        data: a data set with truth of the same task and classes.
        out: a new or empty folder for `evaluation.json`, `predictions.csv` and `report.html`.
        split: which official split; None takes all cases.
        source: layout of the data set; None recognises it.
        device: "auto", "cpu" or "cuda".
        precision: "float32" or "bf16"; None answers as the model was measured.
        progress: shows it.

    Raises:
        BundleError: no whole bundle there.
        ManifestError: a data set with errors, another task or other classes.
        DataLeak: a split with patients whom the model learned from.
        OutputExists: `out` holds something already.
    """
    from overread.pipeline.assembly import device_for
    from overread.pipeline.external_evaluation import evaluate_bundle
    from overread.pipeline.known import known_to, stop_at_known_patients

    progress = progress or Silent()
    device_for(device)
    model = load_bundle(bundle)
    whole = _data_for(model, data, source)
    if model.task == "reconstruction":
        whole = whole.for_images()
    manifest = whole
    if split is not None:
        manifest = whole.subset((split,))
        if not manifest.cases:
            raise ManifestError(
                f"'{manifest.name}' has no cases in a split '{split}'. Leave --split out for all cases."
            )
    images = PreparedImages()
    with fresh_folder(out) as folder:
        found = _problems(manifest, images, progress)
        _stop_at_errors(manifest, found)
        accepted = model.accepted_leaks if model.manifest_fingerprint == _trainable(whole).fingerprint else ()
        progress.say(f"looking for {whole.unit}s and patients that the model learned from")
        known = known_to(model, manifest, whole, images)
        if split is not None and not accepted:
            stop_at_known_patients(model, known, whole, split)
        return evaluate_bundle(
            model,
            bundle_folder(bundle),
            manifest,
            found,
            folder,
            accepted=accepted,
            known=known,
            split=split,
            images=images,
            device=device,
            precision=precision,
            progress=progress,
        )


def compare(runs: Sequence[Path], out: Path, *, progress: Progress | None = None) -> Comparison:
    """Put finished runs side by side, on the cases that all of them answered.

    Args:
        runs: two or more folders of trainings or evaluations; the others are held against the first.
        out: a new or empty folder for `comparison.json`, `comparison.csv`, `comparison.png` and `comparison.html`.
        progress: shows it.

    Raises:
        InputError: fewer than two runs; one that is not whole; other truth, another task or other classes.
        OutputExists: `out` holds something already.
    """
    from overread.pipeline.comparison import compare_runs

    if len(runs) < 2:
        raise InputError(f"A comparison takes two or more runs; found {len(runs)}. Name the folder of another run.")
    with fresh_folder(out) as folder:
        return compare_runs(runs, folder, progress=progress or Silent())


def read(
    bundle: Path,
    images: Sequence[Path],
    out: Path,
    *,
    device: str = "auto",
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Mark and classify new images, or rows of measurements; one that cannot be read is refused, the others go on.

    Args:
        bundle: its folder, or the folder of its run.
        images: files, or folders of files; for a model of measurements: tables, or folders of tables; for one of
            volumes and sequences also a table that says which files are one examination.
        out: a new or empty folder for `predictions.json`, the overlays and `report.html`.
        device: "auto", "cpu" or "cuda".
        precision: "float32" or "bf16"; None answers as the model was measured.
        progress: shows it.

    Raises:
        BundleError: no whole bundle there.
        InputError: no image was named, `out` lies among them, or a table lacks a measurement.
        OutputExists: `out` holds something already.
    """
    from overread.pipeline.reading import read_images
    from overread.pipeline.reading_rows import read_rows

    model = load_bundle(bundle)
    _check_readable(images, out)
    with fresh_folder(out) as folder:
        read_them = read_rows if model.measurements else read_images
        return read_them(
            model,
            bundle_folder(bundle),
            images,
            folder,
            device=device,
            precision=precision,
            progress=progress or Silent(),
        )


def demo(out: Path, *, quick: bool = False, device: str = "auto", progress: Progress | None = None) -> Path:
    """The whole line on simulated images: make a data set, learn to classify and to mark, read unseen patients.

    Args:
        out: a new folder, or that of an earlier demo.
        quick: fewer patients and one epoch, to see that everything works.
        device: "auto", "cpu" or "cuda".
        progress: shows it.

    Returns:
        The page that leads to everything.
    """
    from overread.pipeline.demonstration import run_demo

    return run_demo(out, quick=quick, device=device, progress=progress or Silent())


def _tried(whole: Manifest, images: PreparedImages, progress: Progress) -> str:
    """What is proposed for a data set: whatever training would refuse about it is refused now."""
    from overread.models.contract import Shape
    from overread.pipeline.assembly import check_axes, check_family
    from overread.pipeline.parting import Alike, part

    manifest = _trainable(whole)
    _stop_at_errors(manifest, _problems(manifest, images, progress))
    alike = Alike.of(manifest, whole, images)
    text = proposed(whole, facts=images.facts, trial=lambda section: part(section, alike, seed=0, accept_leaks=False))
    recipe = Recipe.from_toml(text, where="the proposal").resolved()
    check_family(recipe, manifest)
    channels, axes = images.channels(manifest, recipe.preprocessing.steps), images.axes(manifest)
    check_axes(recipe, Shape(manifest.task, manifest.classes, channels, axes))
    _stop_at_errors(manifest, problems(manifest, folds=_folds(recipe), readable=False))
    return text


def _data_for(model: Bundle, data: Path, source: str | None) -> Manifest:
    """The data set; in a table the measurements of a model are known by name, whatever they look like there."""
    from overread.data.sources.measurements import measured_data

    if not model.measurements or source not in {None, "table"}:
        return open_data(data, source=source)
    return measured_data(data.expanduser().resolve(), measurements=model.measurements)


def _check_readable(images: Sequence[Path], out: Path) -> None:
    """Refuse before anything is written: nothing to read, or results that the next reading would take for patients."""
    missing = [path for path in images if not path.exists()]
    if missing and len(missing) == len(images):
        raise InputError(f"'{missing[0]}': there is no such file or folder. Check the path of the images.")
    around = next((path for path in images if path.is_dir() and path.resolve() in out.resolve().parents), None)
    if around is not None:
        raise InputError(
            f"'{out}' lies in the folder '{around}' whose images are to be read, and its pictures would be read as "
            "patients next time. Name a folder outside of it."
        )


def _clear(folder: Path) -> None:
    """Take away what only the training needed."""
    for name in (CHECKPOINTS, DENOISERS):
        shutil.rmtree(folder / name, ignore_errors=True)


def _check_finished(folder: Path) -> None:
    """Refuse to call a run finished whose results are not all there."""
    load_bundle(folder)
    lost = [name for name in ("evaluation.json", "predictions.csv") if not (folder / name).exists()]
    if lost:
        raise OutputExists(
            f"'{folder}' holds a finished run that lost {' and '.join(lost)}. Put it back, or name another folder and "
            "train again."
        )


def _trainable(manifest: Manifest) -> Manifest:
    """The cases that training may see: never the official test split, and only those whose truth is known."""
    return manifest.with_cases(
        tuple(case for case in manifest.cases if case.split != "test" and manifest.knows_truth_of(case))
    )


def _folds(recipe: Recipe) -> int | None:
    return recipe.data.folds if recipe.data.scheme in ("k-fold", "repeated-k-fold", "nested-k-fold") else None


def _problems(
    manifest: Manifest, images: PreparedImages, progress: Progress, *, folds: int | None = None
) -> list[Problem]:
    for case in progress.track(manifest.cases, what=f"looking at the {manifest.unit}s"):
        for ref in case.images:
            with suppress(UnreadableImage):  # named below, with all others
                images.facts(ref)
    return problems(manifest, folds=folds, facts=images.facts)


def _stop_at_errors(manifest: Manifest, found: Sequence[Problem]) -> None:
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        listed = "\n".join(f"  {problem.message}" for problem in errors)
        raise ManifestError(f"'{manifest.name}' has errors and was not used:\n{listed}\nSee: overread inspect DATA")
