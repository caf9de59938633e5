"""Settings that would change nothing are refused: who wrote them believes that they do something."""

from __future__ import annotations

from collections.abc import Iterator

from overread.models.contract import models
from overread.recipe import Recipe
from overread.training.section import PretrainingSection, TrainingSection

_WHERE = {
    "patience": "it is for the schedule 'on-plateau'; stop_after ends a training that brings nothing better",
    "step_epochs": "it is for the schedule 'step'",
    "warmup_epochs": "this schedule has a rise of its own",
}
_NOT_LOOKED_AT = {
    "constant": ("patience", "step_epochs"),
    "step": ("patience",),
    "cosine": ("patience", "step_epochs"),
    "one-cycle": ("patience", "step_epochs", "warmup_epochs"),
    "on-plateau": ("step_epochs",),
}
"""Schedule -> the settings that are other schedules' alone; one that was added may look at all."""


def without_effect(recipe: Recipe) -> Iterator[str]:
    """What is set apart from its default and changes nothing for this family.

    A setting that depends on another one may stand where a search tries that one.
    """
    if recipe.training.balance != "none" and not models.get(recipe.model.family).balances:
        yield (
            f"training.balance: '{recipe.model.family}' learns from one class alone, so that there is nothing to "
            "balance. Use none."
        )
    pretrains = recipe.pretraining.epochs or _searches(recipe, "pretraining.epochs")
    if not pretrains and (recipe.pretraining != PretrainingSection() or _searches(recipe, "pretraining.")):
        yield (
            "pretraining.epochs: it is 0, so that nothing else in [pretraining] has an effect. Set it to the number of "
            "epochs to learn from images alone, or leave the section out."
        )
    if not _searches(recipe, "training.schedule"):
        for name in _NOT_LOOKED_AT.get(recipe.training.schedule, ()):
            default = TrainingSection.model_fields[name].default
            if getattr(recipe.training, name) != default or _searches(recipe, f"training.{name}"):
                yield (
                    f"training.{name}: with the schedule '{recipe.training.schedule}' it has no effect: "
                    f"{_WHERE[name]}. Leave it out."
                )


def _searches(recipe: Recipe, begin: str) -> bool:
    return any(key.startswith(begin) for key in recipe.search.space)
