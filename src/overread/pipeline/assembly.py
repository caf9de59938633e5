"""Recipe and data set, or a bundle, made into networks that can be trained or asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from overread.bundle import CONTENTS, Bundle, refusal
from overread.bundle_files import fold_weights
from overread.data.extent import Extent
from overread.data.manifest import Manifest, Task
from overread.data.section import AugmentationSection
from overread.errors import InputError, RecipeError, UnknownName
from overread.image import Axes
from overread.inference.predictor import Ensemble, Network
from overread.models.contract import HasLevels, Model, Shape, models
from overread.models.memory_format import lay_out
from overread.pipeline.effects import without_effect
from overread.preprocessing.colour import Grey
from overread.preprocessing.geometry import Resize
from overread.preprocessing.step import Step, learns, settings_of
from overread.recipe import Recipe
from overread.training.computing import Computing, Precision
from overread.training.optim import optimisers, schedules

_KINDS: dict[Axes, str] = {0: "a table of measurements", 2: "flat images", 3: "volumes or sequences"}


def check_family(recipe: Recipe, manifest: Manifest) -> None:
    """Check that a recipe can serve a data set, before any image is looked at.

    Raises:
        RecipeError: with all of these: a family that cannot serve this truth or cannot be built, steps and
            augmentation that do not fit, a training that cannot be, or settings that would change nothing.
    """
    family = list(_wrong_family(recipe, manifest))
    wrong = [
        *family,
        *_wrong_preparation(recipe, manifest),
        *_wrong_inference(recipe, manifest),
        *_wrong_training(recipe, manifest),
        *without_effect(recipe),
        *([] if family else _wrong_settings(recipe, manifest)),
    ]
    if len(wrong) == 1:
        raise RecipeError(wrong[0])
    if wrong:
        told = "\n".join(f"  {line}" for line in wrong)
        raise RecipeError(f"Recipe '{recipe.name}': {len(wrong)} things do not fit.\n{told}")


def _kinds_of(manifest: Manifest) -> tuple[Axes, ...]:
    """What the cases may be, as far as their table says it: whether an image is a volume, its file says."""
    if manifest.measurements:
        return (0,)
    return (3,) if any(len(case.images) > 1 for case in manifest.cases) else (2, 3)


def _able(task: Task, kinds: Sequence[Axes]) -> str:
    """The families that learn such truth from any of such kinds of data, to choose from."""
    able = [name for name in models if task in models.get(name).tasks and set(kinds) & set(models.get(name).axes)]
    return f"Choose {' or '.join(able) or 'another data set'}."


def _wrong_family(recipe: Recipe, manifest: Manifest) -> Iterator[str]:
    family, kinds = models.get(recipe.model.family), _kinds_of(manifest)
    if manifest.task not in family.tasks:
        yield (
            f"model.family: '{recipe.model.family}' learns from {' or '.join(family.tasks)}; '{manifest.name}' has "
            f"{manifest.task}. {_able(manifest.task, kinds)}"
        )
    elif not set(kinds) & set(family.axes):
        yield _wrong_kind(recipe, manifest.task, kinds[0])
    elif recipe.pretraining.epochs and not issubclass(family, HasLevels):
        able = [name for name in models if issubclass(models.get(name), HasLevels)]
        yield (
            f"pretraining.epochs: '{recipe.model.family}' has no levels that could be trained before. Set it to 0, or "
            f"choose {' or '.join(able)}."
        )


def _wrong_preparation(recipe: Recipe, manifest: Manifest) -> Iterator[str]:
    """What does not fit in `[preprocessing]` and `[augmentation]`."""
    for number, step in enumerate(recipe.preprocessing.steps, start=1):
        if manifest.measurements and not step.takes_rows:
            yield (
                f"preprocessing.steps.{number}: '{settings_of(step)['step']}', as it is set here, is for images, whose "
                'numbers are all of one kind; in a row each number is another measurement. Use step = "z-score" with '
                'scope = "training", which brings each measurement to one scale by the training rows.'
            )
    if manifest.measurements and recipe.augmentation != AugmentationSection():
        yield "augmentation: it varies images; this data set holds rows of measurements. Leave it out."
    if manifest.task == "boxes" and recipe.augmentation.rotation_degrees:
        yield (
            "augmentation.rotation_degrees: boxes that are turned no longer fit their lesions, and this data set has "
            "no masks. Set it to 0; quarter_turns and flip keep boxes right."
        )
    sizes = [step for step in recipe.preprocessing.steps if isinstance(step, Resize) and step.height is not None]
    turned = recipe.augmentation.quarter_turns and recipe.augmentation.crop is None
    if turned and sizes and sizes[-1].height != sizes[-1].width:
        yield (
            f"augmentation.quarter_turns: images of {sizes[-1].height} x {sizes[-1].width} px do not keep their size "
            "when they are turned. Resize them to squares, set augmentation.crop, or set quarter_turns to false."
        )
    if manifest.task == "reconstruction" and learns(recipe.preprocessing.steps):
        yield (
            "preprocessing.steps: one of them learns from the images of each fold, so that the networks of the folds "
            "would restore to different scales. Leave it out: a model that restores finds its own scale."
        )


_FOLDS_ASKED = {
    "hold-out": 'scheme = "hold-out" trains one network, which answers alone.',
    "official": 'scheme = "official" trains one network, which answers alone.',
    "repeated-k-fold": (
        'scheme = "repeated-k-fold" measures the averaged answers of several networks, and one alone can do worse than '
        "was measured."
    ),
}


def _wrong_inference(recipe: Recipe, manifest: Manifest) -> Iterator[str]:
    asked = recipe.inference
    for name in ("mirrored", "turned", "views"):
        if not getattr(asked, name):
            continue
        if manifest.measurements:
            yield f"inference.{name}: it is about images; this data set holds rows of measurements. Leave it out."
        elif not manifest.labels_images and not manifest.marks_lesions:
            yield f"inference.{name}: it joins labels or marks, and this model gives restored images. Leave it out."
        elif name == "views" and manifest.marks_lesions:
            yield (
                "inference.views: the answers to varied copies are averaged for labels only, and this data set has "
                "marks. Leave it out; mirrored and turned are for marks, too."
            )
        elif name == "views" and recipe.augmentation == AugmentationSection():
            yield (
                "inference.views: copies are varied as [augmentation] says, which says nothing here. Name there how "
                "images vary, or leave views out."
            )
    if asked.one_class_a_place and not manifest.marks_lesions:
        yield "inference.one_class_a_place: it is about marks, which are not learned here. Leave it out."
    if not asked.average_folds and (why := _FOLDS_ASKED.get(recipe.data.scheme)):
        yield f"inference.average_folds: {why} Leave it out."


def _wrong_settings(recipe: Recipe, manifest: Manifest) -> Iterator[str]:
    """Settings that fit no kind of image that the family takes; which kind these are may not be known yet."""
    kinds = {0: "tables", 2: "flat images", 3: "volumes and sequences"}
    refused: dict[str, str] = {}
    for axes in models.get(recipe.model.family).axes:
        if axes not in _kinds_of(manifest):
            continue
        try:
            build_model(recipe, Shape(manifest.task, manifest.classes, 1, axes))
        except (UnknownName, RecipeError) as error:
            said = f"model: {error}" if isinstance(error, UnknownName) else str(error)
            refused.setdefault(said, kinds[axes])
        else:
            return
    if len(refused) > 1:
        yield " ".join(f"For {kind}: {said}" for said, kind in refused.items())
    else:
        yield from refused


def _wrong_training(recipe: Recipe, manifest: Manifest) -> Iterator[str]:
    training = recipe.training
    for catalogue, name in ((optimisers, training.optimiser), (schedules, training.schedule)):
        try:
            catalogue.get(name)
        except UnknownName as error:
            yield f"training: {error}"
    if not recipe.data.validation and training.stop_after is not None:
        yield (
            "training.stop_after: the validation part says when to stop, and data.validation = 0 makes none. Set a "
            "share such as data.validation = 0.15, or leave stop_after out."
        )
    if not recipe.data.validation and training.keep == "best":
        yield (
            "training.keep: 'best' chooses the epoch by the validation part, and data.validation = 0 makes none. Set "
            'keep = "last", or a share such as data.validation = 0.15.'
        )
    able = ["none", *["sampling"] * bool(manifest.classes), *["weights"] * manifest.labels_images]
    if training.balance not in able:
        yield (
            f"training.balance: 'weights' is for labels of whole images, 'sampling' also for marks; '{manifest.name}' "
            f"has {manifest.task}. Use {' or '.join(able)}."
        )


def check_axes(recipe: Recipe, shape: Shape) -> None:
    """Check that a family takes such images; this is known only once they were looked at.

    Raises:
        RecipeError: volumes for a family of flat images, a table for one of images ...
    """
    if shape.axes not in models.get(recipe.model.family).axes:
        raise RecipeError(_wrong_kind(recipe, shape.task, shape.axes))


def _wrong_kind(recipe: Recipe, task: Task, axes: Axes) -> str:
    takes = " or ".join(_KINDS[own] for own in models.get(recipe.model.family).axes)
    return f"model.family: '{recipe.model.family}' takes {takes}; this data set holds {_KINDS[axes]}. " + _able(
        task, (axes,)
    )


def build_model(recipe: Recipe, shape: Shape, *, pretrained: bool = True) -> Model:
    """A fresh model of the recipe's family."""
    family = models.get(recipe.model.family)
    model: Model = family.build(family.Settings(**recipe.model.options), shape, pretrained=pretrained)
    return model


def knows_only(recipe: Recipe, task: Task) -> str | None:
    """The one class that a model of this recipe learns from (see `Model.knows_only`)."""
    family = models.get(recipe.model.family)
    name: str | None = family.knows_only(family.Settings(**recipe.model.options), task)
    return name


def device_for(name: str) -> str:
    """The device to compute on.

    Raises:
        InputError: "cuda" where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for and this machine offers none. Use auto or cpu.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def ensemble_of(
    networks: Sequence[tuple[Model, tuple[Step, ...]]],
    *,
    recipe: Recipe,
    task: Task,
    classes: tuple[str, ...],
    channels: int,
    axes: Axes,
    computing: Computing,
    device: str,
    bundle_id: str | None = None,
    extent: Extent | None = None,
) -> Ensemble:
    """Trained models as one that can be asked."""
    return Ensemble(
        tuple(Network(lay_out(model, computing.memory_format).to(device), steps) for model, steps in networks),
        task,
        classes,
        channels,
        axes=axes,
        bundle_id=bundle_id,
        extent=extent,
        device=device,
        precision=computing.precision,
        memory_format=computing.memory_format,
        mirrored=recipe.inference.mirrored,
        turned=recipe.inference.turned,
        views=recipe.inference.views,
        augmentation=recipe.augmentation,
        one_class_a_place=recipe.inference.one_class_a_place,
        batch_size=at_once(task, axes),
    )


def at_once(task: Task, axes: Axes) -> int:
    """Images that networks are asked about together."""
    return 4 if task in ("boxes", "masks") or axes == 3 else 32


def load_ensemble(bundle: Bundle, folder: Path, *, device: str, precision: Precision | None = None) -> Ensemble:
    """The networks of a bundle that answer: those of all folds, or that of the first one (`Bundle.asked`).

    Args:
        bundle: says how they are asked.
        folder: with the weights.
        device: "auto", "cpu" or "cuda".
        precision: that they answer in; None takes the one that they were trained and measured in.

    Raises:
        BundleError: weights that are missing, changed, or not those of the network that the bundle describes.
    """
    family = models.get(bundle.recipe.model.family)
    if bundle.task not in family.tasks:
        raise refusal(
            CONTENTS,
            f"it says that its model was taught {bundle.task}; the family '{bundle.recipe.model.family}' learns "
            f"{' or '.join(family.tasks)}",
        )
    shape = Shape(bundle.task, bundle.classes, bundle.channels, bundle.axes)
    networks = []
    for record in bundle.asked:
        model = build_model(bundle.recipe_of(record), shape, pretrained=False)
        weights = fold_weights(folder, record)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise refusal(str(record.weights_file), _misfit(weights, model, bundle)) from error
        networks.append((model, (*_grey_first(bundle, record.steps), *record.steps)))
    return ensemble_of(
        networks,
        recipe=bundle.recipe,
        task=bundle.task,
        classes=bundle.classes,
        channels=bundle.channels,
        axes=bundle.axes,
        computing=replace(bundle.computed, precision=precision or bundle.computed.precision),
        device=device_for(device),
        bundle_id=bundle.bundle_id,
        extent=bundle.extent,
    )


def _grey_first(bundle: Bundle, steps: Sequence[Step]) -> tuple[Step, ...]:
    """What lets a model of grey images read grey that is stored as colour, as clips of ultrasound mostly are."""
    takes_colour = bundle.channels != 1 or bundle.axes == 0 or any(isinstance(step, Grey) for step in steps)
    return () if takes_colour else (Grey(weights="equal"),)


def _misfit(weights: Mapping[str, torch.Tensor], model: Model, bundle: Bundle) -> str:
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    first = next(iter(wrong), "of some other kind")
    return (
        f"its weights do not fit the network of {len(bundle.classes)} classes and {bundle.channels} channels that "
        f"{CONTENTS} describes: '{first}' has the shape {found.get(first, 'absent')}, expected "
        f"{wanted.get(first, 'absent')}"
    )
