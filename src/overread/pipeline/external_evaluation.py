"""A trained model measured on a data set that it was not trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from overread.bundle import Bundle
from overread.data.groups import near_ties, tied_patients
from overread.data.manifest import Manifest, Problem
from overread.data.prepared import PreparedImages
from overread.errors import ManifestError
from overread.evaluation.estimate import Estimate
from overread.export.content import ReportContent
from overread.export.report import write_report
from overread.export.tables import write_frame_scores_csv, write_json, write_predictions_csv
from overread.export.wording import worsened_words
from overread.inference.assessment import Assessment
from overread.inference.restoring import examined
from overread.pipeline import presenting
from overread.pipeline.assembly import knows_only
from overread.pipeline.denoisers import load_with_denoisers, seen_by_denoisers, worsened_by_denoisers
from overread.pipeline.known import Known
from overread.progress import Progress
from overread.provenance import environment
from overread.training.computing import Precision


def evaluate_bundle(
    bundle: Bundle,
    weights: Path,
    manifest: Manifest,
    found: Sequence[Problem],
    folder: Path,
    *,
    accepted: Sequence[str],
    known: Known,
    split: str | None,
    images: PreparedImages,
    device: str,
    precision: Precision | None,
    progress: Progress,
) -> list[Estimate]:
    """Predict every case with all folds averaged, and write what came out.

    Raises:
        ManifestError: other truth or other classes than the model's.
    """
    manifest = _with_classes_of(bundle, manifest)
    ensemble = load_with_denoisers(bundle, weights, device=device, precision=precision)
    seed, alone = bundle.recipe.seed, knows_only(bundle.recipe, bundle.task)
    answers = examined(ensemble, manifest.cases, images, seed=seed)
    predictions = list(progress.track(answers, what="predicting", total=len(manifest.cases)))
    refused = [one for one in predictions if one.refused is not None]
    digests = images.digests(manifest)
    near = near_ties(manifest.cases, digests, known.alike)
    groups = tied_patients(manifest.cases, digests, near)
    assessment = Assessment.of(manifest, predictions, bundle.threshold, groups)
    if not assessment.manifest.cases:
        raise ManifestError(
            f"'{manifest.name}' has no case with both an answer and a truth: {len(refused)} {manifest.unit}s were "
            "refused" + (f", the first, {refused[0].case_id}, because: {refused[0].refused}" if refused else "")
        )
    estimates = assessment.estimates(bundle.recipe.evaluation, seed=seed)
    steps = bundle.folds[0].steps
    cleaned = [*worsened_by_denoisers(steps), *seen_by_denoisers(steps, digests, digests)]
    doubts = presenting.doubts_of(predictions)
    found_out = presenting.warnings_of(refused, manifest)
    warnings = [*accepted, *worsened_words(estimates), *known.warnings, *cleaned, *doubts, *found_out]
    rows = list(presenting.readings_of(assessment, refused, manifest, {}))
    write_predictions_csv(folder / "predictions.csv", rows)
    write_frame_scores_csv(folder / "frame_scores.csv", rows)
    networks = f"All {len(bundle.asked)} networks of the bundle averaged" if len(bundle.asked) > 1 else "One network"
    scheme = f"{networks}, with the steps and the threshold of its bundle" + (
        "." if known.warnings else f"; {_nothing_known(bundle, manifest)}"
    )
    scheme = " ".join(filter(None, (scheme, presenting.counted_words(assessment))))
    write_json(
        folder / "evaluation.json",
        presenting.evaluation_json(
            assessment,
            estimates,
            split=split,
            scheme=scheme,
            threshold=bundle.threshold,
            warnings=warnings,
            refused=refused,
            bundle_id=bundle.bundle_id,
            model=presenting.model_json(bundle, weights),
        ),
    )
    content = ReportContent(
        title=f"{bundle.name} on {manifest.name}",
        kind="evaluation",
        created=presenting.now(),
        unit=manifest.unit,
        warnings=warnings,
        simulated=manifest.simulated,
        model_simulated=bundle.simulated,
        manifest=assessment.manifest,
        problems=found,
        estimates=estimates,
        n_patients=assessment.n_patients,
        n_groups=assessment.n_groups,
        thresholds=[bundle.threshold] if assessment.manifest.marks_lesions else (),
        curves=presenting.curves_of(assessment),
        froc=presenting.froc_of(assessment),
        confusion=presenting.confusion_of(assessment),
        examples=presenting.examples_of(
            assessment,
            {},
            ask=lambda _: ensemble,
            images=images,
            seed=seed,
            knows_only=alone,
        ),
        recipe_toml=bundle.recipe.to_toml(),
        environment=environment(),
        notes=[scheme],
        restores=bundle.task == "reconstruction",
        knows_only=alone,
    )
    write_report(folder / "report.html", content)
    return estimates


def _nothing_known(bundle: Bundle, manifest: Manifest) -> str:
    """That none of it was learned from, as far as was looked."""
    alike = "pixel for pixel" if manifest.unit == "image" else "measurement by measurement"
    patients = ", nor anything else of their patients" if bundle.patients and manifest.names_patients else ""
    return f"none of these {manifest.unit}s, {alike}, was learned from{patients}."


def _with_classes_of(bundle: Bundle, manifest: Manifest) -> Manifest:
    """The data set with the model's classes in the model's order; absent ones have no cases."""
    if manifest.task != bundle.task and not {manifest.task, bundle.task} <= {"boxes", "masks"}:
        raise ManifestError(
            f"This model was trained for {bundle.task} and '{manifest.name}' holds {manifest.task}. Evaluate it on a "
            "data set with the same kind of truth."
        )
    if manifest.measurements != bundle.measurements:
        read = {"image": "images", "row": "rows of measurements"}
        raise ManifestError(
            f"This model was trained on {read[bundle.unit]} and '{manifest.name}' holds {read[manifest.unit]}. "
            "Evaluate it on data of the same kind."
        )
    strange = [name for name in manifest.classes if name not in bundle.classes]
    if strange:
        raise ManifestError(
            f"'{manifest.name}' has classes that this model does not know: {', '.join(strange)}. It knows "
            f"{', '.join(bundle.classes)}. Rename them where they mean the same, or leave these cases out."
        )
    return manifest.with_classes(bundle.classes, task="boxes" if manifest.task == "boxes" else bundle.task)
