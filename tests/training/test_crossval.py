"""A model for every fold, none of which has seen what it is measured on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from overread import io
from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection, DataSection
from overread.data.split import folds_of
from overread.errors import NonFiniteLoss, OutputExists
from overread.image import Image
from overread.models.cnn import Cnn
from overread.models.contract import Batch, Model, Output, Shape
from overread.preprocessing.section import step_from
from overread.preprocessing.step import Step, prepare
from overread.progress import Progress, Silent
from overread.provenance import seed_for
from overread.training.crossval import FittedFold, Plan, fit_folds
from overread.training.loop import fabric_for
from overread.training.section import PretrainingSection, TrainingSection

Z_SCORE = step_from({"step": "z-score", "scope": "training"})


class Line(Model):
    """Remembers every case that it learned from."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 2)
        self.seen: set[str] = set()
        self.weights: dict[str, float] = {}

    def _logits(self, images: Tensor) -> Tensor:
        return self.line(torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen |= set(batch.case_ids)
        if batch.weights is not None:
            self.weights |= dict(zip(batch.case_ids, batch.weights.tolist(), strict=True))
        return {"label": nn.functional.cross_entropy(self._logits(batch.images), batch.labels)}

    def predict(self, images: Tensor) -> Output:
        return Output(scores=self._logits(images).softmax(1))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Eight patients with two images each, every patient of another brightness."""
    folder = tmp_path_factory.mktemp("images")
    cases = []
    for number in range(16):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 30, (12, 10)) + 25 * (number // 2)
        Pillow.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        label = ("benign", "malignant")[number // 2 % 2]
        cases.append(
            Case(
                f"case-{number:02}",
                f"patient-{number // 2}",
                (ImageRef(folder / f"{number}.png"),),
                {name: name == label for name in ("benign", "malignant")},
            )
        )
    return Manifest("eight", "test", "single-label", ("benign", "malignant"), tuple(cases))


@pytest.fixture(scope="module")
def folds(manifest: Manifest) -> list[Fold]:
    return list(folds_of(manifest, DataSection(folds=3, validation=0.4), seed=5))


def small_cnn() -> Cnn:
    settings = Cnn.Settings(backbone="test_efficientnet", weights="none")
    return Cnn.build(settings, Shape("single-label", ("benign", "malignant"), 1))


class Judge:
    """Remembers who was judged, and through which steps."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], tuple[Step, ...]]] = []

    def __call__(self, model: Model, steps: Sequence[Step], cases: Sequence[Case]) -> float:
        assert isinstance(model, Line)
        self.asked.append((tuple(case.case_id for case in cases), tuple(steps)))
        return float(model.line.weight.detach().sum().sigmoid())


def plan_of(manifest: Manifest, folder: Path, **how: Any) -> Plan:
    return Plan(
        **{
            "manifest": manifest,
            "images": PreparedImages(folder / "cache"),
            "steps": (Z_SCORE,),
            "build": Line,
            "axes": 2,
            "augmentation": AugmentationSection(flip=True, noise=0.1),
            "pretraining": PretrainingSection(),
            "training": TrainingSection(epochs=2, batch_size=4, warmup_epochs=0.5, memory_format="channels_last"),
            "seed": 3,
            "fabric": fabric_for("cpu", "float32"),
            "judge": Judge(),
            **how,
        }
    )


def fitted(
    manifest: Manifest, folds: Sequence[Fold], folder: Path, *, progress: Progress | None = None, **how: Any
) -> list[FittedFold]:
    plan = plan_of(manifest, folder, **how)
    return list(fit_folds(plan, folds, folder=folder / "folds", progress=progress or Silent()))


def pixels_of(manifest: Manifest, keys: Sequence[str]) -> np.ndarray:
    """All pixels of some cases, read without Overread."""
    refs = {case.case_id: case.images[0].path for case in manifest.cases}
    return np.concatenate([np.asarray(Pillow.open(refs[key]), dtype=np.float64).ravel() for key in keys])


def test_what_is_learned_before_the_network_is_learned_from_the_fit_part_alone(manifest, folds, tmp_path) -> None:
    found = fitted(manifest, folds, tmp_path)
    means = []
    for fold, result in zip(folds, found, strict=True):
        (step,) = result.steps
        own = pixels_of(manifest, fold.fit)
        assert step.mean == pytest.approx([own.mean()])
        assert step.std == pytest.approx([own.std()])
        means.append(step.mean[0])
        for more in (fold.fit + fold.validation, fold.fit + fold.test):
            assert abs(pixels_of(manifest, more).mean() - own.mean()) > 1  # one look at the others would show
    assert len(set(means)) == len(folds)
    assert Z_SCORE.learns  # the recipe's own step was not filled in


def test_steps_that_learn_later_in_the_chain_see_what_comes_before(manifest, folds, tmp_path) -> None:
    chain = (step_from({"step": "window", "centre": 100, "width": 100, "units": "stored"}), Z_SCORE)
    (result,) = fitted(manifest, folds[:1], tmp_path, steps=chain)
    shown = np.clip((pixels_of(manifest, folds[0].fit) - 100) / 100 + 0.5, 0, 1)
    assert result.steps[0] == chain[0]
    assert result.steps[1].mean == pytest.approx([shown.mean()])
    assert result.steps[1].std == pytest.approx([shown.std()])


def test_a_model_learns_from_its_fit_part_is_judged_on_its_validation_part_and_never_sees_a_tested_patient(
    manifest, folds, tmp_path
) -> None:
    judge = Judge()
    found = fitted(manifest, folds, tmp_path, judge=judge)
    patients = {case.case_id: case.patient_id for case in manifest.cases}
    assert len(judge.asked) == 2 * len(folds)
    for number, (fold, result) in enumerate(zip(folds, found, strict=True)):
        assert result.fold is fold
        assert isinstance(result.model, Line)
        assert result.model.seen <= set(fold.fit)
        assert len(result.model.seen) >= len(fold.fit) - 1
        for cases, steps in judge.asked[2 * number : 2 * number + 2]:
            assert set(cases) == set(fold.validation)
            assert steps == result.steps
        looked_at = {patients[key] for key in (*result.model.seen, *fold.validation)}
        assert not looked_at & {patients[key] for key in fold.test}


def test_classes_are_weighed_by_the_fit_part_of_their_fold_alone(manifest, folds, tmp_path) -> None:
    labels = {case.case_id: case.label for case in manifest.cases}
    training = TrainingSection(epochs=1, batch_size=4, balance="weights", memory_format="channels_last")
    for fold, result in zip(folds, fitted(manifest, folds, tmp_path, training=training), strict=True):
        own = [labels[key] for key in fold.fit]
        assert isinstance(result.model, Line)
        assert len(result.model.weights) >= len(fold.fit) - 1
        for key, weight in result.model.weights.items():
            assert weight == pytest.approx(len(own) / (2 * own.count(labels[key])))


def test_sampling_draws_from_the_fit_part_alone(manifest, folds, tmp_path) -> None:
    training = TrainingSection(epochs=4, batch_size=4, balance="sampling", memory_format="channels_last")
    (result,) = fitted(manifest, folds[:1], tmp_path, training=training)
    assert isinstance(result.model, Line)
    assert set() < result.model.seen <= set(folds[0].fit)


def test_the_network_is_fed_with_the_steps_of_its_own_fold(manifest, folds, tmp_path, monkeypatch) -> None:
    images = PreparedImages(tmp_path / "cache")
    asked: list[tuple[Step, ...]] = []
    real = images.get

    def get(ref: ImageRef, steps: Sequence[Step]) -> Image:
        asked.append(tuple(steps))
        image = real(ref, steps)
        assert np.array_equal(image.pixels, prepare(io.read(ref.path), steps).pixels)
        return image

    monkeypatch.setattr(images, "get", get)
    for fold in folds:
        asked.clear()
        (result,) = fitted(manifest, [fold], tmp_path / str(fold.index), images=images)
        assert set(asked) == {result.steps}


def test_the_model_that_comes_out_has_the_weights_of_the_kept_epoch(manifest, folds, tmp_path) -> None:
    seen: list[Tensor] = []

    def falling(model: Model, _steps: Sequence[Step], _cases: Sequence[Case]) -> float:
        seen.append(model.state_dict()["line.weight"].clone())
        return 1 / len(seen)

    training = TrainingSection(epochs=3, batch_size=4, memory_format="channels_last")
    for number, result in enumerate(fitted(manifest, folds, tmp_path, training=training, judge=falling)):
        assert result.fitted.epoch == 0
        assert torch.equal(result.model.state_dict()["line.weight"], seen[3 * number])
        state = result.model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in result.fitted.weights.items())


def test_without_a_validation_part_nobody_judges_and_the_last_epoch_is_kept(manifest, tmp_path) -> None:
    keys = [case.case_id for case in manifest.cases]
    judge = Judge()
    (result,) = fitted(manifest, [Fold(0, tuple(keys[:10]), (), tuple(keys[10:]))], tmp_path, judge=judge)
    assert judge.asked == []
    assert result.fitted.epoch == 1
    assert [record.score for record in result.fitted.history] == [None, None]


def test_the_time_of_a_fold_counts_what_was_learned_before_the_labels_and_before_an_interruption(
    manifest, tmp_path
) -> None:
    keys = [case.case_id for case in manifest.cases]
    how: dict[str, Any] = {"build": small_cnn, "pretraining": PretrainingSection(epochs=1)}
    fold = Fold(0, tuple(keys[:10]), (), tuple(keys[10:]))
    (first,), (again,) = (fitted(manifest, [fold], tmp_path, **how) for _ in range(2))
    assert first.seconds > first.fitted.seconds == sum(record.seconds for record in first.fitted.history) > 0
    assert again.seconds == first.seconds  # nothing was learned anew


class Stop(Silent):
    def __init__(self, words: str) -> None:
        self.words = words

    def say(self, line: str) -> None:
        if self.words in line:
            raise KeyboardInterrupt


def test_folds_that_were_interrupted_go_on_to_the_same_bits(manifest, folds, tmp_path) -> None:
    expected = fitted(manifest, folds, tmp_path / "whole")
    plan_folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        fitted(manifest, folds, plan_folder, progress=Stop("fold 2 of 3: epoch 1"))
    written = (plan_folder / "folds" / "fold-0" / "checkpoint.safetensors").stat().st_mtime_ns
    again = fitted(manifest, folds, plan_folder)
    assert (plan_folder / "folds" / "fold-0" / "checkpoint.safetensors").stat().st_mtime_ns == written
    assert again[0].model.seen == set()  # the first fold was finished: nothing was learned again
    for one, other in zip(again, expected, strict=True):
        assert one.steps == other.steps
        for name, value in other.fitted.weights.items():
            assert torch.equal(one.fitted.weights[name], value), (one.fold.index, name)


def test_a_loss_that_leaves_the_numbers_in_a_later_fold_names_the_fold_and_leaves_what_was_learned(
    manifest, folds, tmp_path
) -> None:
    expected = fitted(manifest, folds, tmp_path / "whole")

    class Leaves(Line):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            known = super().loss(batch)["label"]
            return {"label": known * (float("nan") if set(batch.case_ids) & set(folds[0].test) else 1.0)}

    with pytest.raises(NonFiniteLoss) as caught:
        fitted(manifest, folds, tmp_path, build=Leaves)
    assert caught.value.__notes__ == ["It happened in fold 2 of 3."]
    first = tmp_path / "folds" / "fold-0" / "checkpoint.safetensors"
    written = first.read_bytes()
    for one, other in zip(fitted(manifest, folds, tmp_path), expected, strict=True):
        assert all(torch.equal(one.fitted.weights[name], value) for name, value in other.fitted.weights.items())
    assert first.read_bytes() == written


def test_a_disk_that_cannot_be_written_in_a_later_fold_names_the_fold_and_leaves_what_was_learned(
    manifest, folds, tmp_path
) -> None:
    expected = fitted(manifest, folds, tmp_path / "whole")
    in_the_way = tmp_path / "folds" / "fold-2"
    in_the_way.parent.mkdir()
    in_the_way.touch()
    with pytest.raises(FileExistsError) as caught:
        fitted(manifest, folds, tmp_path)
    assert caught.value.__notes__ == ["It happened in fold 3 of 3."]
    in_the_way.unlink()
    again = fitted(manifest, folds, tmp_path)
    assert [result.model.seen == set() for result in again] == [True, True, False]
    for one, other in zip(again, expected, strict=True):
        assert all(torch.equal(one.fitted.weights[name], value) for name, value in other.fitted.weights.items())


@pytest.mark.parametrize("change", ["fit", "validation", "test"])
def test_what_was_learned_of_another_fold_is_not_gone_on_with(change, manifest, folds, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fitted(manifest, folds, tmp_path, progress=Stop("fold 1 of 3: epoch 1"))
    checkpoint = tmp_path / "folds" / "fold-0" / "checkpoint.safetensors"
    written = checkpoint.read_bytes()
    other = [replace(folds[0], **{change: getattr(folds[0], change)[1:]}), *folds[1:]]
    with pytest.raises(OutputExists, match=r"(?s)fold-0.*parted otherwise.*Nothing was changed"):
        fitted(manifest, other, tmp_path)
    assert checkpoint.read_bytes() == written
    assert len(fitted(manifest, folds, tmp_path)) == 3


def test_pre_training_of_another_fold_is_not_gone_on_with(manifest, folds, tmp_path) -> None:
    how: dict[str, Any] = {"build": small_cnn, "pretraining": PretrainingSection(epochs=2)}
    with pytest.raises(KeyboardInterrupt):
        fitted(manifest, folds[:1], tmp_path, progress=Stop("pre-training: epoch 1"), **how)
    other = replace(folds[0], fit=folds[0].fit[2:])
    with pytest.raises(OutputExists, match=r"pretraining\.safetensors"):
        fitted(manifest, [other], tmp_path, **how)


def test_a_fold_is_the_same_whichever_others_are_fitted_before_it(manifest, folds, tmp_path) -> None:
    together = fitted(manifest, folds, tmp_path / "all", judge=Judge())[2]
    torch.rand(50)
    (alone,) = fitted(manifest, folds[2:], tmp_path / "one", judge=Judge())
    assert together.steps == alone.steps
    for name, value in together.model.state_dict().items():
        assert torch.equal(alone.model.state_dict()[name], value)


def test_every_fold_starts_from_weights_of_its_own_that_the_seed_of_the_recipe_gives(manifest, folds, tmp_path) -> None:
    started: list[Tensor] = []

    def build() -> Line:
        model = Line()
        started.append(model.line.weight.detach().clone())
        return model

    fitted(manifest, folds, tmp_path / "a", build=build)
    fitted(manifest, folds, tmp_path / "b", build=build)
    fitted(manifest, folds[:1], tmp_path / "c", build=build, seed=4)
    first, second, other = started[:3], started[3:6], started[6]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(weight.flatten().tolist()) for weight in (*first, other)}) == 4
    torch.manual_seed(seed_for(seed_for(3, "fold", 0), "weights"))
    assert torch.equal(Line().line.weight, first[0])


def test_models_come_one_by_one_so_that_a_fold_can_be_used_before_the_next_is_fitted(manifest, folds, tmp_path) -> None:
    plan = plan_of(manifest, tmp_path)
    results = fit_folds(plan, folds, folder=tmp_path / "folds", progress=Silent())
    next(results)
    assert sorted(path.name for path in (tmp_path / "folds").iterdir()) == ["fold-0"]
