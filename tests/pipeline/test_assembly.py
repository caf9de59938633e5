"""A recipe that cannot serve a data set is refused before any image is looked at."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from overread.bundle import Bundle, Chosen, FoldRecord
from overread.bundle_files import load_bundle, save_bundle
from overread.data.manifest import Case, ImageRef, Manifest
from overread.errors import BundleError, RecipeError
from overread.finding import Finding, Region
from overread.models.contract import Shape, models
from overread.pipeline.assembly import build_model, check_family, load_ensemble
from overread.preprocessing.step import steps
from overread.recipe import Recipe
from overread.training.computing import Computing

LABELS = Manifest(
    "set",
    "test",
    "single-label",
    ("no", "yes"),
    (Case("a", "p", (ImageRef(Path("a")),), labels={"no": True, "yes": False}),),
)
SEVERAL = Manifest("set", "test", "multi-label", ("cyst", "stone"), LABELS.cases)
ROWS = Manifest(
    "set",
    "test",
    "single-label",
    ("no", "yes"),
    (Case("a", "p", (), labels={"no": True, "yes": False}, measurements=(1.0, 2.0)),),
    measurements=("age", "size"),
)
VISITS = LABELS.with_cases((replace(LABELS.cases[0], images=(ImageRef(Path("a")), ImageRef(Path("b")))),))
STONE = Finding("stone", Region((5, 5, 15, 15)))
BOXES = Manifest("set", "test", "boxes", ("stone",), (Case("a", "p", (ImageRef(Path("a")),), marks=(STONE,)),))


def recipe(text: str) -> Recipe:
    return Recipe.from_toml(f'name = "test"\n{text}', where="test")


@pytest.mark.parametrize(
    ("manifest", "text", "said"),
    [
        (
            LABELS,
            '[model]\nfamily = "mask-rcnn"',
            "model.family: 'mask-rcnn' learns from boxes or masks; .set. has",
        ),
        (BOXES, '[model]\nfamily = "cnn"', "model.family: 'cnn' learns from .*; 'set' has boxes. Choose mask-rcnn"),
        (
            BOXES,
            '[model]\nfamily = "mask-rcnn"\n[augmentation]\nrotation_degrees = 5',
            "augmentation.rotation_degrees: boxes that are turned no longer fit their lesions",
        ),
        (
            BOXES,
            '[model]\nfamily = "mask-rcnn"\n[inference]\nviews = 4\n[augmentation]\nflip = true',
            "inference.views: .* for labels only, and this data set has marks",
        ),
        (LABELS, "[inference]\none_class_a_place = true", "inference.one_class_a_place: it is about marks"),
        (LABELS, "[inference]\nviews = 4", "inference.views: copies are varied as .augmentation. says"),
        (
            LABELS,
            "[augmentation]\nquarter_turns = true\n[[preprocessing.steps]]\nstep = 'resize'\nheight = 64\nwidth = 96",
            "augmentation.quarter_turns: images of 64 x 96 px",
        ),
        (SEVERAL, '[model]\nloss = "cross-entropy"', "model.loss: 'cross-entropy' is for data where one class applies"),
        (LABELS, '[model]\nloss = "vocal"', "model: No loss is called 'vocal'. Did you mean 'focal'"),
        (LABELS, "[model]\nfocal_gamma = 1.0", "model.focal_gamma: only the loss focal .*here .*'cross-entropy'"),
        (LABELS, '[model]\nbackbone = "resnet81"', "model.backbone: timm has no network 'resnet81'"),
        (LABELS, '[model]\nweights = "gone.pth"', "model.weights: .*gone.pth"),
        (LABELS, '[training]\noptimiser = "adamww"', "training: .* 'adamww'. Did you mean 'adamw'"),
        (LABELS, '[training]\nschedule = "cosin"', "training: .* 'cosin'. Did you mean 'cosine'"),
        (
            LABELS,
            "[data]\nvalidation = 0.0",
            "training.keep: 'best' .*data.validation = 0 makes none. Set keep = .last",
        ),
        (
            LABELS,
            '[data]\nvalidation = 0.0\n[training]\nkeep = "last"\nstop_after = 3',
            "training.stop_after: the validation part says when to stop",
        ),
        (
            BOXES,
            '[model]\nfamily = "mask-rcnn"\n[training]\nbalance = "weights"',
            "training.balance: 'weights' is for labels of whole images.* 'set' has boxes. Use none or sampling",
        ),
        (
            LABELS,
            '[model]\nfamily = "autoencoder"\nnormal = "no"\n[training]\nbalance = "weights"',
            "training.balance: 'autoencoder' learns from one class alone",
        ),
        (LABELS, "[pretraining]\nlearning_rate = 0.01", "pretraining.epochs: it is 0, so that nothing else"),
        (LABELS, "[training]\npatience = 9", "training.patience: with .* 'cosine' it has no effect: .*stop_after ends"),
        (LABELS, '[training]\nschedule = "on-plateau"\nstep_epochs = 3', "training.step_epochs: .* schedule 'step'"),
        (LABELS, '[training]\nschedule = "one-cycle"\nwarmup_epochs = 3', "training.warmup_epochs: .* of its own"),
        (
            LABELS,
            '[data]\nscheme = "nested-k-fold"\n[search.space]\n"training.patience" = [3, 5]',
            "training.patience: with .* 'cosine' it has no effect",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_setting_to_change(manifest: Manifest, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_family(recipe(text), manifest)


SCALED = '[[preprocessing.steps]]\nstep = "z-score"\nscope = "training"'


@pytest.mark.parametrize("name", sorted(set(steps) - {"z-score"}))
def test_steps_for_images_are_refused_for_rows_and_the_one_that_fits_is_named(name: str) -> None:
    needed = {"resize": "factor = 0.5", "denoise-learned": 'bundle = "x"'}.get(name, "")
    text = f'[model]\nfamily = "mlp"\n[[preprocessing.steps]]\nstep = "{name}"\n{needed}'
    with pytest.raises(RecipeError, match=f"preprocessing.steps.1: '{name}'.*another measurement.*scope = .training"):
        check_family(recipe(text), ROWS)


def test_rows_are_not_scaled_by_themselves() -> None:
    with pytest.raises(RecipeError, match=r"preprocessing.steps.1: 'z-score', as it is set here, is for images"):
        check_family(recipe('[model]\nfamily = "mlp"\n[[preprocessing.steps]]\nstep = "z-score"'), ROWS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[augmentation]\nnoise = 0.1", "augmentation: it varies images"),
        ("[inference]\nmirrored = true", "inference.mirrored: it is about images"),
        ("[inference]\nturned = true", "inference.turned: it is about images"),
    ],
)
def test_what_is_done_to_images_is_refused_for_rows(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_family(recipe(f'[model]\nfamily = "mlp"\n{SCALED}\n{text}'), ROWS)


def test_all_wrong_names_are_told_at_once() -> None:
    wrong = '[model]\nloss = "vocal"\n[training]\noptimiser = "adamww"\nschedule = "cosin"'
    with pytest.raises(RecipeError, match=r"(?s)3 things.*mean 'adamw'.*mean 'cosine'.*mean 'focal'"):
        check_family(recipe(wrong), LABELS)


@pytest.mark.parametrize(
    ("manifest", "family", "advised"),
    [(ROWS, "mask-rcnn", "mlp"), (ROWS, "cnn", "mlp"), (VISITS, "mask-rcnn", "lstm")],
)
def test_the_families_that_are_advised_take_the_data_set(manifest: Manifest, family: str, advised: str) -> None:
    with pytest.raises(RecipeError, match=r"model.family: .* Choose ") as refused:
        check_family(recipe(f'[model]\nfamily = "{family}"'), manifest)
    names = str(refused.value).split("Choose ")[-1].rstrip(".").split(" or ")
    assert advised in names
    for name in names:
        axes = 0 if manifest is ROWS else 3
        assert axes in models.get(name).axes


@pytest.mark.parametrize("scheme", ["hold-out", "official", "repeated-k-fold"])
def test_one_network_is_not_asked_alone_where_there_is_one_only_or_several_were_measured(scheme: str) -> None:
    text = f'[data]\nscheme = "{scheme}"\n[inference]\naverage_folds = false'
    with pytest.raises(
        RecipeError, match=rf'inference.average_folds: scheme = "{scheme}" (trains one|measures the av)'
    ):
        check_family(recipe(text), LABELS)


def test_what_fits_passes() -> None:
    check_family(recipe("[inference]\naverage_folds = false"), LABELS)
    check_family(recipe(f'[model]\nfamily = "mlp"\n{SCALED}'), ROWS)
    check_family(recipe('[model]\nfamily = "lstm"'), VISITS)
    check_family(recipe('[model]\nfamily = "cnn"\n[inference]\nmirrored = true'), LABELS)
    check_family(recipe('[model]\nfamily = "mask-rcnn"\n[augmentation]\nquarter_turns = true'), BOXES)
    check_family(recipe('[model]\nfamily = "mask-rcnn"\n[inference]\nmirrored = true\nturned = true'), BOXES)
    check_family(recipe('[training]\nstop_after = 3\nbalance = "weights"'), LABELS)
    check_family(recipe('[training]\nschedule = "on-plateau"\npatience = 9'), LABELS)
    tried = '[search.space]\n"training.schedule" = ["cosine", "on-plateau"]\n"training.patience" = [3, 9]'
    check_family(recipe(f'[data]\nscheme = "nested-k-fold"\n[training]\npatience = 3\n{tried}'), LABELS)
    check_family(recipe('[data]\nvalidation = 0.0\n[training]\nkeep = "last"'), LABELS)
    check_family(recipe('[model]\nfamily = "mask-rcnn"\n[training]\nbalance = "sampling"'), BOXES)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    small = recipe('[model]\nfamily = "cnn"\nbackbone = "resnet18"')
    weights = build_model(small, Shape("single-label", ("a", "b"), 1), pretrained=False).state_dict()
    record = FoldRecord(index=0, steps=(), epoch=0, n_fit=1, n_validation=1, n_test=1)
    made = Bundle(
        name="a",
        recipe=small,
        task="single-label",
        classes=("no", "yes"),
        channels=1,
        manifest_fingerprint="f",
        source="test",
        simulated=False,
        folds=(record,),
        threshold=0.5,
        seen=(),
        evaluation=(),
        intended_use="",
        environment={},
        computed=Computing(device="cpu", precision="bf16", memory_format="contiguous"),
        created="",
        image_facts={},
    )
    return save_bundle(tmp_path / "bundle", made, [weights])


def test_a_bundle_whose_parts_fit_is_made_into_networks(bundle: Bundle, tmp_path: Path) -> None:
    assert load_ensemble(bundle, tmp_path / "bundle", device="cpu").classes == ("no", "yes")


def test_a_bundle_is_asked_as_it_was_trained_unless_somebody_says_otherwise(bundle: Bundle, tmp_path: Path) -> None:
    found = load_ensemble(bundle, tmp_path / "bundle", device="cpu")
    assert (found.precision, found.memory_format) == ("bf16", "contiguous")
    last = replace(bundle, computed=replace(bundle.computed, memory_format="channels_last"))
    found = load_ensemble(last, tmp_path / "bundle", device="cpu", precision="float32")
    assert (found.precision, found.memory_format) == ("float32", "channels_last")
    weights = [weight for weight in found.networks[0].model.parameters() if weight.ndim == 4]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("a", "b", "c")}, r"fold-0\.safetensors: .*3 classes and 1 channels .* expected \(3"),
        ({"channels": 3}, r"fold-0\.safetensors: .*2 classes and 3 channels"),
        ({"task": "boxes"}, r"bundle\.json: .*taught boxes; the family 'cnn' learns single-label or multi-label"),
    ],
)
def test_a_bundle_whose_parts_do_not_fit_is_refused_with_both(
    bundle: Bundle, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        load_ensemble(replace(bundle, **change), tmp_path / "bundle", device="cpu")


def test_each_network_of_a_bundle_is_made_by_the_settings_that_were_chosen_for_it(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Networks with different numbers of layers, saved and loaded."""
    small = recipe('[model]\nfamily = "mlp"\nside = 4').resolved()
    shape = Shape("single-label", ("no", "yes"), 1)
    choices: tuple[dict[str, Any], ...] = ({"model.hidden": [8, 4]}, {"model.hidden": []})
    records = tuple(
        FoldRecord(
            index=index, steps=(), epoch=0, n_fit=1, n_validation=1, n_test=1,
            chosen=Chosen(settings=settings, score=0.5, inner_scores=(0.5, None), n_trials=2),
        )
        for index, settings in enumerate(choices)
    )  # fmt: skip
    weights = [build_model(small.with_settings(settings), shape).state_dict() for settings in choices]
    save_bundle(tmp_path / "searched", replace(bundle, recipe=small, folds=records), weights)
    loaded = load_bundle(tmp_path / "searched")
    assert [record.chosen for record in loaded.folds] == [record.chosen for record in records]
    networks = load_ensemble(loaded, tmp_path / "searched", device="cpu").networks
    assert len(networks[0].model.state_dict()) > len(networks[1].model.state_dict())
    for network, expected in zip(networks, weights, strict=True):
        found = network.model.state_dict()
        assert all(found[name].equal(tensor) for name, tensor in expected.items())
    wrong = replace(loaded.folds[0], chosen=replace(records[0].chosen, settings={"model.hiden": [4]}))
    with pytest.raises(BundleError, match=r"what was chosen for fold 0 cannot be"):
        load_ensemble(replace(loaded, folds=(wrong, loaded.folds[1])), tmp_path / "searched", device="cpu")


@pytest.mark.parametrize(("asked", "networks"), [("", 2), ("[inference]\naverage_folds = false", 1)])
def test_a_bundle_asks_the_networks_of_all_folds_or_that_of_the_first(
    bundle: Bundle, tmp_path: Path, asked: str, networks: int
) -> None:
    small = recipe(f'[model]\nfamily = "mlp"\nside = 4\nhidden = []\n{asked}').resolved()
    shape = Shape("single-label", ("no", "yes"), 1)
    records = tuple(FoldRecord(index=n, steps=(), epoch=0, n_fit=1, n_validation=1, n_test=1) for n in range(2))
    weights = [build_model(small, shape).state_dict() for _ in records]
    save_bundle(tmp_path / "two", replace(bundle, recipe=small, folds=records), weights)
    found = load_ensemble(load_bundle(tmp_path / "two"), tmp_path / "two", device="cpu").networks
    assert len(found) == networks
    for network, expected in zip(found, weights, strict=False):
        assert all(network.model.state_dict()[name].equal(tensor) for name, tensor in expected.items())
