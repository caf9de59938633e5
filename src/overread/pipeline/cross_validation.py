"""Training from end to end: folds, threshold, numbers, bundle, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from overread.bundle import FOLDER, Bundle, FoldRecord, save_bundle
from overread.data.inputs import input_of
from overread.data.manifest import Case, Manifest, Problem
from overread.data.prepared import PreparedImages
from overread.data.split import Fold, folds_of
from overread.evaluation.estimate import Estimate
from overread.export.content import ReportContent
from overread.export.report import write_report
from overread.export.tables import write_json, write_predictions_csv
from overread.finding import Prediction
from overread.inference.assessment import Assessment
from overread.inference.predictor import Ensemble
from overread.models.contract import Model, Shape
from overread.pipeline import presenting
from overread.pipeline.assembly import at_once, build_model, check_axes, device_for, ensemble_of
from overread.preprocessing.step import Step, learns
from overread.progress import Progress
from overread.provenance import environment
from overread.recipe import Recipe
from overread.training.allocation import keep_freed_memory
from overread.training.computing import Computing
from overread.training.crossval import FittedFold, Plan, fit_folds
from overread.training.loop import fabric_for
from overread.training.preflight import CHECKPOINTS, ready

INTENDED_USE = (
    "For research. Not a medical device: not for diagnosis, and for no decision about a patient without a person who "
    "reads the image."
)


def cross_validate(
    recipe: Recipe,
    manifest: Manifest,
    found: Sequence[Problem],
    folder: Path,
    *,
    images: PreparedImages,
    device: str,
    progress: Progress,
) -> None:
    """Train one model a fold, measure each on what it never saw, and write the run.

    The validation part of a fold chooses the epoch and the operating point; nothing that is reported rests on it.
    """
    keep_freed_memory()
    folds = folds_of(manifest, recipe.data, seed=recipe.seed, same=images.digests(manifest))
    shape = Shape(
        manifest.task, manifest.classes, images.channels(manifest, recipe.preprocessing.steps), images.axes(manifest)
    )
    check_axes(recipe, shape)

    def ask(computing: Computing, model: Model, steps: Sequence[Step]) -> Ensemble:
        return ensemble_of(
            [(model, tuple(steps))],
            recipe=recipe,
            task=manifest.task,
            classes=manifest.classes,
            channels=shape.channels,
            axes=shape.axes,
            computing=computing,
            device=computing.device,
        )

    def answer(computing: Computing, model: Model, steps: Sequence[Step], cases: Iterable[Case]) -> list[Prediction]:
        return _predict(ask(computing, model, steps), cases, images)

    def plan_of(computing: Computing) -> Plan:
        def judge(model: Model, steps: Sequence[Step], cases: Sequence[Case]) -> float | None:
            return Assessment.of(manifest, answer(computing, model, steps, cases), 0.5).judged()

        return Plan(
            manifest=manifest,
            images=images,
            steps=recipe.preprocessing.steps,
            build=lambda: build_model(recipe, shape),
            axes=shape.axes,
            augmentation=recipe.augmentation,
            pretraining=recipe.pretraining,
            training=computing.put_into(recipe.training),
            seed=recipe.seed,
            fabric=fabric_for(computing.device, computing.precision),
            judge=judge,
        )

    computing = ready(
        plan_of,
        folds,
        section=recipe.training,
        device=device_for(device),
        answer=answer,
        at_once=at_once(manifest.task, shape.axes),
        folder=folder,
        progress=progress,
    )
    _prepare(recipe, manifest, images, progress)
    results = _Results(manifest, folds)
    for fold in fit_folds(plan_of(computing), folds, folder=folder / CHECKPOINTS, progress=progress):
        ensemble = ask(computing, fold.model, fold.steps)
        validation = _predict(ensemble, results.cases_of(fold.fold.validation), images)
        testing = progress.track(results.cases_of(fold.fold.test), what=f"testing fold {fold.fold.index + 1}")
        results.add(fold, validation, _predict(ensemble, testing, images))
        fold.model.to("cpu")
    progress.say("computing intervals")
    assessment = results.assessment()
    estimates = assessment.estimates(recipe.evaluation, seed=recipe.seed)
    bundle = save_bundle(
        folder / FOLDER,
        _bundle(recipe, results, estimates, images=images, shape=shape, computing=computing),
        [fold.fitted.weights for fold in results.fitted],
    )
    _write(folder, bundle, results=results, assessment=assessment, estimates=estimates, found=found)


class _Results:
    """What the folds gave so far."""

    def __init__(self, manifest: Manifest, folds: Sequence[Fold]) -> None:
        self.manifest = manifest
        self.folds = folds
        self.fitted: list[FittedFold] = []
        self.validated: list[Prediction] = []
        self.thresholds: dict[int, float] = {}
        self.tested: list[Prediction] = []
        self.tested_in: dict[str, int] = {}
        self._cases = {case.case_id: case for case in manifest.cases}

    def cases_of(self, keys: Sequence[str]) -> list[Case]:
        return [self._cases[key] for key in keys]

    def add(self, fold: FittedFold, validated: Sequence[Prediction], tested: Sequence[Prediction]) -> None:
        self.fitted.append(fold)
        self.validated += validated
        self.tested += tested
        self.tested_in |= dict.fromkeys(fold.fold.test, fold.fold.index)
        # each fold is measured at its own operating point: the validation part of another fold holds its test cases
        self.thresholds[fold.fold.index] = Assessment.of(self.manifest, validated, 0.0).best_threshold()

    def assessment(self) -> Assessment:
        """The test predictions, at the operating points that the validation predictions chose."""
        own = {case_id: self.thresholds[index] for case_id, index in self.tested_in.items()}
        return Assessment.of(self.manifest, self.tested, own)

    @property
    def threshold(self) -> float:
        """The operating point of the bundle: of all validation parts, where a case that is in several counts once."""
        return Assessment.of(self.manifest, self.validated, 0.0).best_threshold()

    @property
    def refused(self) -> list[Prediction]:
        return [one for one in self.tested if one.refused is not None]


def _prepare(recipe: Recipe, manifest: Manifest, images: PreparedImages, progress: Progress) -> None:
    """Prepare every image once, where no step must learn first."""
    steps = recipe.preprocessing.steps
    if not learns(steps):
        for case in progress.track(manifest.cases, what="preparing images"):
            input_of(case, steps, images)


def _predict(ensemble: Ensemble, cases: Iterable[Case], images: PreparedImages) -> list[Prediction]:
    return list(ensemble.predict(tuple(cases), images))


def _bundle(
    recipe: Recipe,
    results: _Results,
    estimates: Sequence[Estimate],
    *,
    images: PreparedImages,
    shape: Shape,
    computing: Computing,
) -> Bundle:
    manifest = results.manifest
    records = tuple(
        FoldRecord(
            index=fold.fold.index,
            steps=fold.steps,
            epoch=fold.fitted.epoch,
            n_fit=len(fold.fold.fit),
            n_validation=len(fold.fold.validation),
            n_test=len(fold.fold.test),
            n_parameters=sum(weights.numel() for weights in fold.model.parameters()),
            training_seconds=fold.seconds,
        )
        for fold in results.fitted
    )
    learned = {key for fold in results.folds for key in (*fold.fit, *fold.validation)}
    digests = images.digests(manifest)
    return Bundle(
        name=recipe.name,
        recipe=recipe,
        task=manifest.task,
        classes=manifest.classes,
        channels=shape.channels,
        axes=shape.axes,
        measurements=manifest.measurements,
        manifest_fingerprint=manifest.fingerprint,
        source=manifest.source,
        simulated=manifest.simulated,
        folds=records,
        threshold=results.threshold,
        seen=tuple(sorted({digests[key] for key in learned})),
        evaluation=tuple(estimate.as_json() for estimate in estimates),
        intended_use=INTENDED_USE,
        environment=environment(),
        computed=computing,
        created=presenting.now(),
        image_facts=images.summary(manifest),
    )


def _write(
    folder: Path,
    bundle: Bundle,
    *,
    results: _Results,
    assessment: Assessment,
    estimates: Sequence[Estimate],
    found: Sequence[Problem],
) -> None:
    recipe, manifest = bundle.recipe, results.manifest
    warnings = presenting.warnings_of(results.refused)
    scheme = presenting.scheme_of(recipe.data, results.folds, manifest)
    rows = list(presenting.readings_of(assessment, results.refused, manifest, results.tested_in))
    write_predictions_csv(folder / "predictions.csv", rows)
    write_json(
        folder / "evaluation.json",
        presenting.evaluation_json(
            assessment,
            estimates,
            split=None,
            scheme=scheme,
            threshold=bundle.threshold,
            thresholds_of_folds=results.thresholds,
            warnings=warnings,
            refused=results.refused,
            bundle_id=bundle.bundle_id,
            model=presenting.model_json(bundle, folder / FOLDER),
        ),
    )
    content = ReportContent(
        title=recipe.name,
        kind="training",
        created=bundle.created,
        warnings=warnings,
        simulated=manifest.simulated,
        manifest=manifest,
        problems=found,
        estimates=estimates,
        thresholds=list(results.thresholds.values()) if manifest.marks_lesions else (),
        curves=presenting.curves_of(assessment),
        froc=presenting.froc_of(assessment),
        confusion=presenting.confusion_of(assessment),
        histories=[presenting.history_of(fold) for fold in results.fitted],
        folds=[presenting.row_of(fold) for fold in results.fitted],
        examples=presenting.examples_of(assessment, results.tested_in),
        recipe_toml=recipe.to_toml(),
        environment=bundle.environment,
        notes=[scheme],
    )
    write_report(folder / "report.html", content)  # last: its presence says that the run is finished
