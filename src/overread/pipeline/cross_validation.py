"""Training from end to end: folds, threshold, numbers, bundle, report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from overread.bundle import DENOISERS, FOLDER, Bundle, FoldRecord, patient_digest
from overread.bundle_files import save_bundle
from overread.data.extent import Extent
from overread.data.fold import Fold
from overread.data.inputs import input_of
from overread.data.manifest import Case, Manifest, Problem
from overread.data.prepared import PreparedImages
from overread.evaluation.estimate import Estimate
from overread.export.content import ReportContent
from overread.export.report import write_report
from overread.export.tables import write_frame_scores_csv, write_json, write_predictions_csv
from overread.export.wording import worsened_words
from overread.finding import Prediction
from overread.inference.assessment import Assessment
from overread.inference.predictor import Ensemble
from overread.inference.restoring import examined
from overread.models.contract import Model, Shape
from overread.pipeline import presenting
from overread.pipeline.assembly import at_once, build_model, check_axes, device_for, ensemble_of, knows_only
from overread.pipeline.denoisers import seen_by_denoisers, worsened_by_denoisers
from overread.pipeline.parting import Parting, scheme_of
from overread.pipeline.presenting import Example
from overread.pipeline.searching import Search, choose_settings, choosing_of, varied
from overread.preprocessing.step import Step, learns
from overread.progress import Progress
from overread.provenance import environment
from overread.recipe import Recipe
from overread.training.allocation import keep_freed_memory
from overread.training.computing import Computing
from overread.training.crossval import FittedFold, Plan, fit_folds
from overread.training.loop import fabric_for
from overread.training.preflight import ready
from overread.training.section import CHECKPOINTS

INTENDED_USE = (
    "For research. Not a medical device: not for diagnosis, and for no decision about a patient without a person who "
    "judges the case."
)


def cross_validate(
    recipe: Recipe,
    manifest: Manifest,
    found: Sequence[Problem],
    folder: Path,
    *,
    parting: Parting,
    images: PreparedImages,
    device: str,
    progress: Progress,
) -> None:
    """Train one model a fold, measure each on what it never saw, and write the run.

    The validation part of a fold chooses the epoch and the operating point; nothing that is reported rests on it.
    """
    keep_freed_memory()
    shape = Shape(
        manifest.task, manifest.classes, images.channels(manifest, recipe.preprocessing.steps), images.axes(manifest)
    )
    check_axes(recipe, shape)

    def ask(computing: Computing, *networks: tuple[Model, Sequence[Step]]) -> Ensemble:
        return ensemble_of(
            [(model, tuple(steps)) for model, steps in networks],
            recipe=recipe,
            task=manifest.task,
            classes=manifest.classes,
            channels=shape.channels,
            axes=shape.axes,
            computing=computing,
            device=computing.device,
        )

    def answers(ensemble: Ensemble, cases: Iterable[Case]) -> list[Prediction]:
        return list(examined(ensemble, tuple(cases), images, seed=recipe.seed))

    def answer(computing: Computing, model: Model, steps: Sequence[Step], cases: Iterable[Case]) -> list[Prediction]:
        return answers(ask(computing, (model, steps)), cases)

    def asked_about(case: Case) -> Ensemble:
        indices = next(indices for indices, keys in results.tested_by().items() if case.case_id in keys)
        return ask(computing, *((results.fitted[index].model, results.fitted[index].steps) for index in indices))

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

    search_folder = folder / CHECKPOINTS / "search"
    computing = ready(
        plan_of,
        parting.folds,
        choosing=choosing_of(recipe, shape, parting.inner, search_folder),
        section=recipe.training,
        device=device_for(device),
        answer=answer,
        at_once=at_once(manifest.task, shape.axes),
        folder=folder,
        progress=progress,
    )
    _prepare(recipe, manifest, images, progress)
    plan = plan_of(computing)
    searched = choose_settings(recipe, plan, shape, parting.inner, folder=search_folder, progress=progress)
    own = {
        index: varied(plan, recipe.with_settings(search.chosen.settings), shape) for index, search in searched.items()
    }
    results = _Results(manifest, parting.folds, searched, groups=parting.groups)
    for fold in fit_folds(plan, parting.folds, folder=folder / CHECKPOINTS, progress=progress, own=own):
        validated = results.cases_of(fold.fold.validation)
        results.add(fold, answer(computing, fold.model, fold.steps, validated))
        fold.model.to("cpu")
    for indices, keys in progress.track(list(results.tested_by().items()), what="testing"):
        asked = [results.fitted[index] for index in indices]
        ensemble = ask(computing, *((one.model, one.steps) for one in asked))
        results.tested += answers(ensemble, results.cases_of(keys))
        for one in asked:
            one.model.to("cpu")
    progress.say("computing intervals")
    assessment = results.assessment()
    estimates = assessment.estimates(recipe.evaluation, seed=recipe.seed)
    bundle = save_bundle(
        folder / FOLDER,
        _bundle(recipe, results, estimates, accepted=parting.accepted, images=images, shape=shape, computing=computing),
        [fold.fitted.weights for fold in results.fitted],
        denoisers=folder / DENOISERS,
    )
    examples = presenting.examples_of(
        assessment,
        results.tested_in,
        ask=asked_about,
        images=images,
        seed=recipe.seed,
        knows_only=knows_only(recipe, manifest.task),
    )
    tested = [one.case_id for one in results.tested]
    steps = recipe.preprocessing.steps
    known = [*worsened_by_denoisers(steps), *seen_by_denoisers(steps, tested, images.digests(manifest))]
    _write(
        folder,
        bundle,
        results=results,
        assessment=assessment,
        estimates=estimates,
        found=found,
        parting=parting,
        examples=examples,
        known=known,
    )


class _Results:
    """What the folds gave so far."""

    def __init__(
        self,
        manifest: Manifest,
        folds: Sequence[Fold],
        searched: Mapping[int, Search] | None = None,
        *,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        self.manifest = manifest
        self.folds = folds
        self.searched = searched or {}
        self.groups = groups or {}
        self.fitted: list[FittedFold] = []
        self.validated: list[Prediction] = []
        self.thresholds: dict[int, float] = {}
        self.tested: list[Prediction] = []
        self._cases = {case.case_id: case for case in manifest.cases}

    def cases_of(self, keys: Sequence[str]) -> list[Case]:
        return [self._cases[key] for key in keys]

    def add(self, fold: FittedFold, validated: Sequence[Prediction]) -> None:
        self.fitted.append(fold)
        self.validated += validated
        # each fold is measured at its own operating point: the validation part of another fold holds its test cases
        self.thresholds[fold.fold.index] = Assessment.of(self.manifest, validated, 0.0).best_threshold()

    def tested_by(self) -> dict[tuple[int, ...], list[str]]:
        """The folds that test a case -> the cases that they test; several folds where folds are drawn repeatedly.

        The networks of several folds are asked together, as those of a bundle are, so that a case has one answer.
        """
        folds_of_case: dict[str, tuple[int, ...]] = {}
        for fold in self.folds:
            for key in fold.test:
                folds_of_case[key] = (*folds_of_case.get(key, ()), fold.index)
        tested: dict[tuple[int, ...], list[str]] = {}
        for key, indices in folds_of_case.items():
            tested.setdefault(indices, []).append(key)
        return tested

    @property
    def tested_in(self) -> dict[str, int]:
        """Case id -> the fold that tests it, where it is one."""
        return {key: indices[0] for indices, keys in self.tested_by().items() if len(indices) == 1 for key in keys}

    def assessment(self) -> Assessment:
        """The test predictions, at the operating points that the validation predictions chose."""
        own = {
            key: sum(self.thresholds[index] for index in indices) / len(indices)
            for indices, keys in self.tested_by().items()
            for key in keys
        }
        return Assessment.of(self.manifest, self.tested, own, self.groups)

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
        for case in progress.track(manifest.cases, what=f"preparing {manifest.unit}s"):
            input_of(case, steps, images)


def _bundle(
    recipe: Recipe,
    results: _Results,
    estimates: Sequence[Estimate],
    *,
    accepted: tuple[str, ...],
    images: PreparedImages,
    shape: Shape,
    computing: Computing,
) -> Bundle:
    manifest = results.manifest
    searched = results.searched
    records = tuple(
        FoldRecord(
            index=fold.fold.index,
            steps=fold.steps,
            epoch=fold.fitted.epoch,
            n_fit=len(fold.fold.fit),
            n_validation=len(fold.fold.validation),
            n_test=len(fold.fold.test),
            n_parameters=sum(weights.numel() for weights in fold.model.parameters()),
            training_seconds=fold.seconds + (searched[fold.fold.index].seconds if fold.fold.index in searched else 0.0),
            chosen=searched[fold.fold.index].chosen if fold.fold.index in searched else None,
        )
        for fold in results.fitted
    )
    learned = {key for fold in results.folds for key in (*fold.fit, *fold.validation)}
    digests = images.digests(manifest)
    patients = {case.patient_id for case in manifest.cases if manifest.names_patients and case.case_id in learned}
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
        threshold=results.threshold if recipe.inference.average_folds else results.thresholds[records[0].index],
        seen=tuple(sorted({digests[key] for key in learned})),
        patients=tuple(sorted(patient_digest(patient, manifest.fingerprint) for patient in patients)),
        evaluation=tuple(estimate.as_json() for estimate in estimates),
        intended_use=INTENDED_USE,
        environment=environment(),
        computed=computing,
        created=presenting.now(),
        image_facts=images.summary(manifest),
        extent=None if manifest.measurements else _extent(results, images),
        accepted_leaks=accepted,
    )


def _extent(results: _Results, images: PreparedImages) -> Extent:
    """Of all images that a network learned from, as it saw them; they were prepared before and are kept."""
    steps = {key: fold.steps for fold in results.fitted for key in (*fold.fold.fit, *fold.fold.validation)}
    return Extent.of(input_of(case, steps[case.case_id], images) for case in results.cases_of(list(steps)))


def _write(
    folder: Path,
    bundle: Bundle,
    *,
    results: _Results,
    assessment: Assessment,
    estimates: Sequence[Estimate],
    found: Sequence[Problem],
    parting: Parting,
    examples: Sequence[Example],
    known: Sequence[str],
) -> None:
    recipe, manifest = bundle.recipe, results.manifest
    worse = worsened_words(estimates)
    warnings = [*parting.accepted, *worse, *parting.near, *known, *presenting.warnings_of(results.refused, manifest)]
    scheme = scheme_of(recipe.data, results.folds, manifest, averaged=recipe.inference.average_folds)
    scheme = " ".join(filter(None, (scheme, parting.kept_together, presenting.counted_words(assessment))))
    rows = list(presenting.readings_of(assessment, results.refused, manifest, results.tested_in))
    write_predictions_csv(folder / "predictions.csv", rows)
    write_frame_scores_csv(folder / "frame_scores.csv", rows)
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
            search=presenting.search_json(results.searched),
        ),
    )
    content = ReportContent(
        title=recipe.name,
        kind="training",
        created=bundle.created,
        unit=manifest.unit,
        warnings=warnings,
        simulated=manifest.simulated,
        manifest=manifest,
        problems=[*found, *parting.leaks],
        estimates=estimates,
        n_patients=assessment.n_patients,
        n_groups=assessment.n_groups,
        thresholds=list(results.thresholds.values()) if manifest.marks_lesions else (),
        curves=presenting.curves_of(assessment),
        froc=presenting.froc_of(assessment),
        confusion=presenting.confusion_of(assessment),
        histories=[presenting.history_of(fold) for fold in results.fitted],
        folds=[presenting.row_of(fold) for fold in results.fitted],
        examples=examples,
        searched=[presenting.searched_row(record.index, record.chosen) for record in bundle.folds if record.chosen],
        recipe_toml=recipe.to_toml(),
        environment=bundle.environment,
        notes=[scheme],
        restores=manifest.task == "reconstruction",
        knows_only=knows_only(recipe, manifest.task),
    )
    write_report(folder / "report.html", content)  # last: its presence says that the run is finished
