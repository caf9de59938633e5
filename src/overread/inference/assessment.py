"""Predictions held against the truth of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from overread.data.manifest import Manifest
from overread.errors import UndefinedMetric
from overread.evaluation.classification import classification_measured
from overread.evaluation.estimate import Estimate
from overread.evaluation.examples import case_score, label_case_score
from overread.evaluation.image_level import image_level_measured
from overread.evaluation.localisation import choose_threshold, localisation_measured
from overread.evaluation.marks import Threshold
from overread.evaluation.measured import Measured
from overread.evaluation.metric import metrics_of
from overread.evaluation.restoration import NOISE_LEVELS, RestorationQuestion, quality_name, restoration_estimates
from overread.evaluation.section import EvaluationSection
from overread.finding import Finding, Prediction

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Assessment:
    """Predictions of cases whose truth is known.

    Args:
        manifest: the cases that were predicted and whose truth is known, and no others.
        predictions: case id -> prediction, none of them refused.
        threshold: a mark is counted from this score on; one for all, or one a case id.
        groups: case id -> the patient as whom it counts, where patients share pictures (see `groups.tied_patients`);
            its own patient where that is not said.
    """

    manifest: Manifest
    predictions: Mapping[str, Prediction]
    threshold: Threshold = DEFAULT_THRESHOLD
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        predictions: Sequence[Prediction],
        threshold: Threshold,
        groups: Mapping[str, str] | None = None,
    ) -> Assessment:
        """Keep the cases that have both an answer and a truth."""
        answered = {one.case_id: one for one in predictions if one.refused is None}
        cases = tuple(case for case in manifest.cases if case.case_id in answered and manifest.knows_truth_of(case))
        kept = {case.case_id: answered[case.case_id] for case in cases}
        return cls(manifest.with_cases(cases), kept, threshold, groups or {})

    @property
    def counted_as(self) -> dict[str, str]:
        """Case id -> the patient as whom it is drawn for intervals."""
        return {case.case_id: self.groups.get(case.case_id, case.patient_id) for case in self.manifest.cases}

    @property
    def n_patients(self) -> int:
        """How many patients there are."""
        return len({case.patient_id for case in self.manifest.cases})

    @property
    def n_groups(self) -> int:
        """How many patients there are where those who share a picture count as one."""
        return len({*self.counted_as.values()})

    @property
    def truth(self) -> NDArray[np.generic]:
        """`(case,)` class indices ("single-label"), or `(case, class)` of 0, 1 and NaN ("multi-label")."""
        classes = self.manifest.classes
        if self.manifest.task == "single-label":
            return np.array([classes.index(case.label) for case in self.manifest.cases], dtype=np.int64)
        known = {True: 1.0, False: 0.0, None: np.nan}
        rows = [[known[case.labels.get(name)] for name in classes] for case in self.manifest.cases]
        return np.array(rows, dtype=np.float64).reshape(-1, len(classes))

    @property
    def scores(self) -> NDArray[np.float64]:
        """`(case, class)` in [0, 1]."""
        classes = self.manifest.classes
        rows = [[self.predictions[case.case_id].scores[name] for name in classes] for case in self.manifest.cases]
        return np.array(rows, dtype=np.float64).reshape(-1, len(classes))

    @property
    def qualities(self) -> dict[float, dict[str, NDArray[np.float64]]]:
        """Strength of the noise -> name -> `(case,)`: how near restored images come to the clean ones."""
        names = [one.name for one in metrics_of(RestorationQuestion)]
        rows = [self.predictions[case.case_id].quality for case in self.manifest.cases]
        return {
            noise: {name: np.array([row[quality_name(name, noise)] for row in rows]) for name in names}
            for noise in NOISE_LEVELS
        }

    @property
    def true_marks(self) -> dict[str, tuple[Finding, ...]]:
        """Case id -> the true marks."""
        return {case.case_id: case.truth_marks for case in self.manifest.cases}

    @property
    def found_marks(self) -> dict[str, tuple[Finding, ...]]:
        """Case id -> the marks that the model gives, whatever their score."""
        return {
            key: tuple(finding for finding in one.findings if finding.region is not None)
            for key, one in self.predictions.items()
        }

    def estimates(self, section: EvaluationSection, *, seed: int) -> list[Estimate]:
        """Every number with its interval."""
        if self.manifest.task == "reconstruction":
            patients = list(self.counted_as.values())
            return restoration_estimates(self.qualities, patients, draws=section.draws, level=section.level, seed=seed)
        measured = self.measured(draws=section.draws, seed=seed)
        return [one.estimate(level=section.level, subgroup=None) for one in measured]

    def measured(self, *, draws: int, seed: int) -> list[Measured]:
        """Every number with its bootstrap draws; equal seeds draw the same patients for other answers to the cases.

        Only of labels and marks: of restored images `estimates` says it.
        """
        patients = self.counted_as
        if self.manifest.task == "boxes" or self.manifest.task == "masks":  # noqa: PLR1714 - mypy narrows this one
            lesions = localisation_measured(
                self.true_marks,
                self.found_marks,
                self.manifest.classes,
                patients,
                kind=self.manifest.task,
                threshold=self.threshold,
                draws=draws,
                seed=seed,
            )
            images = image_level_measured(
                self.true_marks,
                self.found_marks,
                self.manifest.classes,
                patients,
                threshold=self.threshold,
                draws=draws,
                seed=seed,
            )
            return [*lesions, *images]
        assert self.manifest.task != "reconstruction"
        return classification_measured(
            self.truth,
            self.scores,
            self.manifest.classes,
            list(patients.values()),
            task=self.manifest.task,
            draws=draws,
            seed=seed,
        )

    def threshold_of(self, case_id: str) -> float:
        """The operating point of one case."""
        return self.threshold[case_id] if isinstance(self.threshold, Mapping) else self.threshold

    def case_scores(self) -> dict[str, float]:
        """Case id -> how well it went, to choose examples."""
        if self.manifest.task == "boxes" or self.manifest.task == "masks":  # noqa: PLR1714 - mypy narrows this one
            truth, found = self.true_marks, self.found_marks
            return {
                key: case_score(truth[key], found[key], kind=self.manifest.task, threshold=self.threshold_of(key))
                for key in truth
            }
        if self.manifest.task == "reconstruction":
            similar = np.mean([rows["ssim"] for rows in self.qualities.values()], axis=0).tolist()
            return dict(zip([case.case_id for case in self.manifest.cases], similar, strict=True))
        pairs = zip(self.manifest.cases, self.truth, self.scores, strict=True)
        return {case.case_id: label_case_score(truth, scores) for case, truth, scores in pairs}

    def judged(self) -> float | None:
        """One number to choose an epoch by, higher is better: the mean AUROC, COCO's AP at IoU 0.5, or SSIM."""
        if self.manifest.task == "reconstruction":
            return float(np.mean(list(self.case_scores().values()))) if self.manifest.cases else None
        name = "coco_ap50" if self.manifest.marks_lesions else "auroc"
        overall = (one for one in self.measured(draws=0, seed=0) if (one.metric, one.class_name) == (name, None))
        return next((one.value for one in overall if not np.isnan(one.value)), None)

    def best_threshold(self) -> float:
        """The operating point of marks; to be asked of validation data only."""
        if self.manifest.task not in ("boxes", "masks") or not self.manifest.cases:
            return DEFAULT_THRESHOLD
        try:
            return choose_threshold(self.true_marks, self.found_marks, self.manifest.task)
        except UndefinedMetric:
            return DEFAULT_THRESHOLD
