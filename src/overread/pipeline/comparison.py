"""Two or more finished runs side by side, on the cases that all of them answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from overread.data.groups import tied_patients
from overread.data.manifest import Case
from overread.errors import InputError
from overread.evaluation.comparison import Difference, Key, auroc_tests, corrected, differences, with_tests
from overread.evaluation.estimate import Estimate
from overread.evaluation.measured import Measured
from overread.evaluation.metric import metrics
from overread.evaluation.section import EvaluationSection
from overread.export.comparison import ComparedRun, Comparison, Rival
from overread.export.comparison_page import write_comparison_page, write_comparison_picture
from overread.export.comparison_tables import write_comparison_csv, write_comparison_json
from overread.export.wording import first_names
from overread.inference.assessment import Assessment
from overread.pipeline import presenting
from overread.pipeline.finished_run import FinishedRun, read_run
from overread.progress import Progress
from overread.provenance import seed_for


def compare_runs(folders: Sequence[Path], out: Path, *, progress: Progress) -> Comparison:
    """Hold every run against the first, and write what came out.

    Raises:
        InputError: a run that is not whole, or runs with other truth, another task or other classes.
    """
    names = _names(folders)
    runs = [read_run(path, name=name) for path, name in zip(folders, names, strict=True)]
    _check_one_question(runs)
    case_ids = sorted(set.intersection(*(run.case_ids for run in runs)))
    answers = [run.on(case_ids) for run in runs]
    _check_one_truth(runs, answers)
    groups = _groups(answers)
    answers = [replace(one, groups=groups) for one in answers]
    fingerprint = answers[0].manifest.fingerprint
    level = max(one.level for run in runs for one in run.evaluation.estimates)
    draws, seed = EvaluationSection().draws, seed_for("comparison", fingerprint)
    drawn = [
        one.measured(draws=draws, seed=seed)
        for one in progress.track(answers, what="measuring runs on the same draws of patients")
    ]
    rows = corrected(
        [
            _differences((answers[0], drawn[0]), (one, measured), level=level)
            for one, measured in zip(answers[1:], drawn[1:], strict=True)
        ]
    )
    reference, *others = (
        _compared(run, measured, whole=len(case_ids) == len(run.case_ids), level=level)
        for run, measured in zip(runs, drawn, strict=True)
    )
    data = runs[0].evaluation.data
    comparison = Comparison(
        created=presenting.now(),
        unit=data.unit,
        data=data.name,
        task=data.task,
        classes=data.classes,
        fingerprint=fingerprint,
        simulated=any(run.evaluation.data.simulated for run in runs),
        names_patients=answers[0].manifest.names_patients,
        n_cases=len(case_ids),
        n_patients=answers[0].n_patients,
        n_groups=answers[0].n_groups,
        left_out=len(set.union(*(run.case_ids for run in runs))) - len(case_ids),
        level=level,
        draws=draws,
        seed=seed,
        reference=reference,
        rivals=[Rival(run, found) for run, found in zip(others, rows, strict=True)],
        warnings=_warnings(runs, case_ids),
    )
    write_comparison_json(out / "comparison.json", comparison)
    write_comparison_csv(out / "comparison.csv", comparison)
    picture = write_comparison_picture(out / "comparison.png", comparison)
    write_comparison_page(out / "comparison.html", comparison, picture.read_bytes())
    return comparison


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each run: that of its folder, with that of the folder around it where others are called so too."""
    paths = [path.resolve() for path in folders]
    often = Counter(path.name for path in set(paths))
    names = [path.name if often[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]
    before: Counter[str] = Counter()
    numbered = []
    for name in names:
        before[name] += 1
        numbered.append(name if before[name] == 1 else f"{name} ({before[name]})")
    return numbered


def _check_one_question(runs: Sequence[FinishedRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        one, two = first.evaluation.data, run.evaluation.data
        if one.task != two.task:
            raise InputError(
                f"'{first.name}' answers with {one.task} and '{run.name}' with {two.task}. Compare runs of one task."
            )
        if one.classes != two.classes:
            raise InputError(
                f"'{first.name}' knows the classes {', '.join(one.classes)} and '{run.name}' {', '.join(two.classes)}. "
                "Compare runs that were taught the same classes, in the same order."
            )


def _check_one_truth(runs: Sequence[FinishedRun], answers: Sequence[Assessment]) -> None:
    """Refuse runs without common cases, and cases of which two runs know another truth or patient."""
    advice = "Compare runs on one data set: evaluate their bundles on it with overread evaluate."
    if not answers[0].manifest.cases:
        raise InputError(f"No case was answered by all of {', '.join(run.name for run in runs)}. {advice}")
    for run, answer in zip(runs[1:], answers[1:], strict=True):
        pairs = list(zip(answers[0].manifest.cases, answer.manifest.cases, strict=True))
        differ = [one.case_id for one, two in pairs if one != two]
        if differ:
            what = "patient" if all(_truth(one) == _truth(two) for one, two in pairs) else "truth"
            raise InputError(
                f"'{runs[0].name}' and '{run.name}' do not know the same {what} of {len(differ)} of {len(pairs)} cases "
                f"that both answered ({first_names(differ)}). {advice}"
            )


def _groups(answers: Sequence[Assessment]) -> dict[str, str]:
    """Case id -> the patient as whom it counts in all runs: what one of them ties is tied."""
    groups: dict[str, str] = {}
    for one in answers:
        cases = [replace(case, patient_id=groups.get(case.case_id, case.patient_id)) for case in one.manifest.cases]
        groups = tied_patients(cases, one.counted_as)
    return groups


def _truth(case: Case) -> object:
    return dict(case.labels), case.marks


def _differences(
    reference: tuple[Assessment, list[Measured]], other: tuple[Assessment, list[Measured]], *, level: float
) -> list[Difference]:
    (one, of_one), (two, of_two) = reference, other
    manifest = one.manifest
    if manifest.marks_lesions:
        same = (one.found_marks, one.threshold) == (two.found_marks, two.threshold)
        return differences(of_one, of_two, level=level, same=same)
    rows = differences(of_one, of_two, level=level, same=np.array_equal(one.scores, two.scores))
    if manifest.task == "single-label" and len(manifest.classes) == 2:  # the number of the one class is that of both
        rows = [row for row in rows if row.class_name is None or not metrics.get(row.metric).symmetric]
    return with_tests(rows, auroc_tests(one.truth, one.scores, two.scores, manifest.classes, level=level))


def _compared(run: FinishedRun, drawn: Sequence[Measured], *, whole: bool, level: float) -> ComparedRun:
    """A run with its own numbers where they rest on the very cases that are compared, else measured anew."""
    estimates: dict[Key, Estimate] = {}
    for one in drawn:
        told = run.estimates.get((one.metric, one.class_name))
        kept = told if whole and told is not None and told.level == level else None
        estimates[one.metric, one.class_name] = kept or one.estimate(level=level, subgroup=None)
    evaluation = run.evaluation
    return ComparedRun(
        name=run.name,
        bundle=evaluation.bundle,
        scheme=evaluation.scheme,
        warnings=evaluation.warnings,
        n_answered=len(run.case_ids),
        estimates=estimates,
        **evaluation.model.model_dump(),
    )


def _warnings(runs: Sequence[FinishedRun], case_ids: Sequence[str]) -> list[str]:
    """What must be read before any number."""
    said = [f"{run.name}: {warning}" for run in runs for warning in run.evaluation.warnings]
    unit = runs[0].evaluation.data.unit
    everybody = set.union(*(run.case_ids for run in runs))
    if left_out := len(everybody) - len(case_ids):
        lacking = ", ".join(f"{run.name} lacks {n}" for run in runs if (n := len(everybody - run.case_ids)))
        said.append(
            f"{left_out} of {len(everybody)} {unit}s were not answered by all runs ({lacking}) and are in none of the "
            "numbers"
        )
    names, prints = ({getattr(run.evaluation.data, key) for run in runs} for key in ("name", "fingerprint"))
    if len(prints) > 1 and (not left_out or len(names) > 1):  # fewer cases alone make another fingerprint
        said.append(
            "The runs were measured on data sets that are not equal to the last byte. Names, truth and patients of the "
            f"compared {unit}s are the same; make sure that they are those of the same examinations"
        )
    return said
