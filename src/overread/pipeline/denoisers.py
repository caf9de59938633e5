"""The denoisers that the steps of a recipe or of a bundle ask: found, checked, opened, and taken along."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from overread.bundle import DENOISERS, Bundle
from overread.bundle_files import asked_denoisers, bundle_folder, load_bundle
from overread.errors import InputError, RecipeError
from overread.evaluation.estimate import Estimate
from overread.export.wording import worsened_words
from overread.inference.predictor import Ensemble
from overread.inference.restoring import TrainedDenoiser
from overread.pipeline.assembly import load_ensemble
from overread.preprocessing.learned import DenoiseLearned, opened
from overread.preprocessing.step import Step, settings_of
from overread.recipe import Recipe
from overread.training.computing import Precision


def with_denoisers(recipe: Recipe, *, device: str) -> Recipe:
    """The recipe with every denoiser that it names opened, and its bundle_id filled in.

    Raises:
        RecipeError: a denoiser that is missing, changed, another one than named, no denoiser at all, or one whose
            images were prepared by steps that do not stand before it.
    """
    chain: list[Step] = []
    for number, step in enumerate(recipe.preprocessing.steps, start=1):
        known = step
        if isinstance(step, DenoiseLearned):
            try:
                bundle = load_bundle(Path(step.bundle))
                denoiser = _opened(bundle, bundle_folder(Path(step.bundle)), device=device)
                known = step.made_with(denoiser)
            except InputError as error:
                raise RecipeError(f"preprocessing.steps.{number}.bundle: {error}") from error
            _check_order(bundle, chain, number)
            opened[step.bundle] = denoiser
        chain.append(known)
    return recipe.model_copy(update={"preprocessing": recipe.preprocessing.model_copy(update={"steps": tuple(chain)})})


def keep_denoisers(recipe: Recipe, folder: Path) -> None:
    """Copy the denoisers of a recipe at once: after hours of training they may be gone.

    Args:
        recipe: from `with_denoisers`.
        folder: of the copies, each under its bundle_id; those that are there already stay.
    """
    for step in recipe.preprocessing.steps:
        if isinstance(step, DenoiseLearned) and step.bundle_id is not None:
            kept = folder / step.bundle_id
            if not kept.exists():
                shutil.copytree(bundle_folder(Path(step.bundle)), kept.with_name(f".{kept.name}"), dirs_exist_ok=True)
                kept.with_name(f".{kept.name}").rename(kept)


def load_with_denoisers(bundle: Bundle, folder: Path, *, device: str, precision: Precision | None = None) -> Ensemble:
    """The networks of a bundle, all folds, with the denoisers that it brings along for its steps.

    Raises:
        BundleError: see `load_ensemble`.
    """
    for bundle_id in asked_denoisers(bundle):
        inside = folder / DENOISERS / bundle_id
        _opened(load_bundle(inside), inside, device=device)
    return load_ensemble(bundle, folder, device=device, precision=precision)


def worsened_by_denoisers(steps: Sequence[Step]) -> list[str]:
    """A warning for each strength of noise at which a denoiser makes images worse.

    Args:
        steps: with the denoisers, opened.
    """
    return [line for step in steps if isinstance(step, DenoiseLearned) for line in step.denoiser.worsens]


def seen_by_denoisers(steps: Sequence[Step], tested: Iterable[str], digests: Mapping[str, str]) -> list[str]:
    """A warning for each denoiser that learned from images which are tested.

    Args:
        steps: with the denoisers, opened.
        tested: case ids.
        digests: case id -> digest of its images.
    """
    found = []
    keys = [key for key in tested if key in digests]
    for denoiser in [step.denoiser for step in steps if isinstance(step, DenoiseLearned)]:
        known = sum(digests[key] in denoiser.seen for key in keys)
        if known:
            found.append(
                f"The denoiser '{denoiser.name}', which prepares the images, learned from {known} of these {len(keys)} "
                "images. It saw no truth about them, but it may clean them better than new ones."
            )
    return found


def _opened(bundle: Bundle, folder: Path, *, device: str) -> TrainedDenoiser:
    if bundle.task != "reconstruction":
        raise InputError(
            f"'{bundle.name}' is no denoiser: it was taught {bundle.task}. Name a model that was trained with "
            'truth = "images" in [data].'
        )
    ensemble = load_with_denoisers(bundle, folder, device=device)
    who = f"The denoiser '{bundle.name}', which prepares the images,"
    worsens = tuple(worsened_words([Estimate(**row) for row in bundle.evaluation], who))
    denoiser = TrainedDenoiser(ensemble, bundle.bundle_id, bundle.name, frozenset(bundle.seen), worsens)
    opened[bundle.bundle_id] = denoiser
    return denoiser


def _check_order(bundle: Bundle, before: Sequence[Step], number: int) -> None:
    """Check that what the denoiser's own images went through is done before it is asked, in that order."""
    at = 0
    for own in bundle.folds[0].steps:
        places = [place for place in range(at, len(before)) if before[place] == own]
        if not places:
            settings = settings_of(own)
            name = settings.pop("step")
            told = ", ".join(f"{key} = {value}" for key, value in settings.items())
            raise RecipeError(
                f"preprocessing.steps.{number}: the denoiser '{bundle.name}' learned from images after the step "
                f"'{name}'{f' with {told}' if told else ''}, which does not stand before it here. Put the denoiser's "
                "own steps before 'denoise-learned', in their order, or train one without them."
            )
        at = places[0] + 1
