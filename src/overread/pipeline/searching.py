"""Settings chosen inside the training part of each fold, so that what is measured has no say in them."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overread.bundle import Chosen
from overread.data.fold import Fold, refuse_other_fold
from overread.data.manifest import Manifest
from overread.errors import InputError, ManifestError, NonFiniteLoss, NotInstalled, RecipeError, UnknownName
from overread.models.contract import Shape
from overread.pipeline.assembly import build_model, check_family
from overread.progress import Progress
from overread.provenance import digest_of, seed_for
from overread.recipe import Recipe
from overread.training.crossval import Plan, cases_of, fit_folds
from overread.training.rehearsal import Choosing
from overread.training.section import SearchSection, Settings, settings_words
from overread.writing import write_whole

_STARTUP = 10
_REPEATS = 100


@dataclass(frozen=True)
class Trial:
    """What one choice of settings gave.

    Args:
        settings: the choice.
        scores: of each inner fold, on what it did not learn from; None where not defined.
        seconds: that its trainings took.
        failed: whether a training left the numbers; the inner folds after it were not trained.
    """

    settings: Settings
    scores: tuple[float | None, ...]
    seconds: float
    failed: bool = False

    @property
    def score(self) -> float | None:
        """The mean of the inner scores that are defined; None where none is, or where it failed."""
        defined = [score for score in self.scores if score is not None]
        return sum(defined) / len(defined) if defined and not self.failed else None


@dataclass(frozen=True)
class Search:
    """What was tried inside one fold, in order.

    Args:
        trials: at least one of which has a score.
    """

    trials: tuple[Trial, ...]

    @property
    def seconds(self) -> float:
        """That all its trainings took."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def chosen(self) -> Chosen:
        """The settings with the highest score; of equal ones those that were tried first."""
        best = max(self.trials, key=lambda trial: -math.inf if trial.score is None else trial.score)
        assert best.score is not None
        return Chosen(
            settings=dict(best.settings),
            score=best.score,
            inner_scores=best.scores,
            n_trials=len(self.trials),
            n_failed=sum(trial.failed for trial in self.trials),
        )


def check_search(recipe: Recipe, manifest: Manifest) -> None:
    """Check that all that may be tried can be, before any time is spent.

    Raises:
        NotInstalled: where settings are to be proposed, and the package that does so is absent.
        RecipeError: values that do not fit each other or the data set.
    """
    if recipe.search.space and not recipe.search.tries_all and importlib.util.find_spec("optuna") is None:
        raise NotInstalled(
            f"[search] proposes {recipe.search.trials} of many settings by means of Optuna, which is not installed. "
            "Install it (pip install optuna), or raise search.trials so that all settings are tried."
        )
    for settings in recipe.search.pairs():
        try:
            check_family(recipe.with_settings(settings), manifest)
        except (RecipeError, UnknownName) as error:
            raise RecipeError(f"[search.space] with {settings_words(settings)}: {error}") from error


def choose_settings(
    recipe: Recipe, plan: Plan, shape: Shape, inner: Mapping[int, Sequence[Fold]], *, folder: Path, progress: Progress
) -> dict[int, Search]:
    """Try settings inside the training part of each fold; what an earlier, interrupted call had tried is kept.

    Args:
        recipe: with the settings that are not searched, and those to choose from.
        plan: what all trainings have in common.
        shape: of the data.
        inner: index of a fold -> the parts of its training part; empty where nothing is searched.
        folder: for scores, and checkpoints of trainings that are not finished.
        progress: shows trainings and the time left.

    Raises:
        ManifestError: where no inner part defines a score.
        NonFiniteLoss: where the training of all settings left the numbers.
        OutputExists: what an earlier call had tried rests on other folds.
    """
    if not inner:
        return {}
    found = {}
    per_fold = recipe.search.n_trials
    count = per_fold * sum(map(len, inner.values()))
    progress.say(f"choosing settings inside each fold, {per_fold} tried in each: {count} trainings")
    for index, folds in progress.track(list(inner.items()), what="choosing settings"):
        seed = seed_for(recipe.seed, "inner", index)
        found[index] = _search(
            recipe,
            replace(plan, seed=seed),
            shape,
            folds,
            folder=folder / f"fold-{index}",
            what=f"settings for fold {index + 1} of {len(inner)}",
            progress=progress,
        )
        best = found[index].chosen
        progress.say(f"fold {index + 1}: chosen {settings_words(best.settings)}, mean inner score {best.score:.4f}")
    return found


def choosing_of(recipe: Recipe, shape: Shape, inner: Mapping[int, Sequence[Fold]], folder: Path) -> Choosing:
    """What is tried before the folds are trained, so that it can be said what all of it will take.

    Args:
        recipe: with the settings to choose from, if any.
        shape: of the data.
        inner: as for `choose_settings`.
        folder: as for `choose_settings`.
    """

    def vary(plan: Plan, settings: Settings) -> Plan:
        return varied(plan, recipe.with_settings(settings), shape)

    return Choosing(recipe.search, vary, trainings_left(recipe, inner, folder))


def trainings_left(recipe: Recipe, inner: Mapping[int, Sequence[Fold]], folder: Path) -> list[Fold]:
    """The inner folds of all trainings that `choose_settings` has still to do, as far as can be known before."""
    return [
        fold
        for index, folds in inner.items()
        for fold in folds
        for _ in range(recipe.search.n_trials - len(list(folder.glob(f"fold-{index}/*/{_name(fold)}.json"))))
    ]


def varied(plan: Plan, recipe: Recipe, shape: Shape) -> Plan:
    """The plan with another recipe's model and training; how it computes stays."""
    return replace(
        plan,
        build=lambda: build_model(recipe, shape),
        augmentation=recipe.augmentation,
        pretraining=recipe.pretraining,
        training=recipe.training.model_copy(
            update={"precision": plan.training.precision, "memory_format": plan.training.memory_format}
        ),
    )


def _search(
    recipe: Recipe, plan: Plan, shape: Shape, folds: Sequence[Fold], *, folder: Path, what: str, progress: Progress
) -> Search:
    section = recipe.search
    trials: list[Trial] = []
    proposals = _all(section) if section.tries_all else _proposed(section, seed=seed_for(plan.seed, "search"))
    counted = progress.track(range(section.n_trials * len(folds)), what=what)
    settings = next(proposals, None)
    while settings is not None:
        own, scored = varied(plan, recipe.with_settings(settings), shape), []
        at = folder / digest_of(dict(settings))[:16]
        for fold in folds:
            next(counted, None)
            called = f"{what}, trial {len(trials) + 1} of {section.n_trials}, inner fold {fold.index + 1}"
            scored.append(_scored(own, fold, settings, at / _name(fold), what=called, progress=progress))
            if scored[-1]["failed"]:
                break
        trials.append(
            Trial(
                settings,
                tuple(one["score"] for one in scored),
                sum(one["seconds"] for one in scored),
                failed=scored[-1]["failed"],
            )
        )
        try:
            settings = proposals.send(trials[-1].score)
        except StopIteration:
            settings = None
    for _ in counted:  # what failed, or was proposed twice, needed no training
        pass
    if all(trial.failed for trial in trials):
        raise NonFiniteLoss(f"{what}: the training of all {len(trials)} settings left the numbers. Try lower rates.")
    if all(trial.score is None for trial in trials):
        raise ManifestError(
            f"{what}: no inner part defines a score, so that nothing can be chosen: each shows too few classes. Use "
            "fewer data.inner_folds, or add patients."
        )
    return Search(tuple(trials))


def _scored(
    plan: Plan, fold: Fold, settings: Settings, folder: Path, *, what: str, progress: Progress
) -> dict[str, Any]:
    """The score of one inner training, kept on the disk once it is known."""
    file = folder.with_suffix(".json")
    if file.exists():
        return _kept(file, settings, fold)
    told: dict[str, Any] = {"fold": fold.digest, "settings": dict(settings)}
    told |= {"score": None, "seconds": 0.0, "failed": False}
    try:
        (fitted,) = fit_folds(plan, [fold], folder=folder, progress=progress, what=what)
    except NonFiniteLoss as error:
        progress.say(f"{what}: failed. {error}")
        told["failed"] = True
    else:
        told["score"] = plan.judge(fitted.model, fitted.steps, cases_of(plan, fold.test))
        told["seconds"] = fitted.seconds
        fitted.model.to("cpu")
    write_whole(file, json.dumps(told | {"sha256": digest_of(told)}, allow_nan=False))
    shutil.rmtree(folder, ignore_errors=True)
    return told


def _kept(file: Path, settings: Settings, fold: Fold) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(file.read_text())
        if told.pop("sha256") != digest_of(told) or digest_of(told["settings"]) != digest_of(dict(settings)):
            raise ValueError("not what was written")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"'{file}' is not what was written: the score of a finished training. Delete it, and that training is done "
            "again."
        ) from error
    refuse_other_fold(told.get("fold"), fold.digest, file=file)
    return told


def _name(fold: Fold) -> str:
    return f"inner-{fold.index}"


Proposals = Generator[Settings, float | None, None]
"""Gives settings, and takes their score."""


def _all(section: SearchSection) -> Proposals:
    for settings in section.all_settings():  # noqa: UP028 - a list takes no scores, as "yield from" would hand it
        yield settings


def _proposed(section: SearchSection, *, seed: int) -> Proposals:
    """Different settings, each chosen by the scores of those before it: equal scores give equal settings."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(_STARTUP, max(2, section.trials // 2)))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    # by place, because lists are no values that Optuna knows
    places: dict[str, optuna.distributions.BaseDistribution] = {
        key: optuna.distributions.CategoricalDistribution(range(len(choices))) for key, choices in section.space.items()
    }
    scores: dict[str, float | None] = {}
    repeats = 0
    while len(scores) < section.trials and repeats < _REPEATS:
        asked = study.ask(places)
        settings = {key: choices[asked.params[key]] for key, choices in section.space.items()}
        name = digest_of(settings)
        if name in scores:
            repeats += 1
        else:
            scores[name] = yield settings
        if scores[name] is None:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(asked, scores[name])
