"""What holds for every model family, also for one that is added tomorrow."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from overread.errors import TruthAbsent
from overread.models.contract import Batch, HasLevels, Model, Output, Shape, Truths, models
from overread.models.memory_format import laid_out
from overread.progress import Progress, Silent
from overread.training.loop import Fitted, fabric_for, fit
from overread.training.pretraining import pretrain
from overread.training.section import PretrainingSection, TrainingSection

SMALL: dict[str, Any] = {
    "backbone": "test_efficientnet",
    "weights": "none",
    "dropout": 0.0,
    "width": 16,
    "depth": 3,
    "bottleneck": 2,
    "side": 8,
    "anchors": (8, 16, 32, 64, 96),
    "proposals": 30,
    "sampled_regions": 16,
    "head": 32,
    "mask_layers": 1,
    "minimum_score": 0.0,
    "most_marks": 10,
}
"""Settings that keep a network small; a family takes those that it has, and its defaults for the rest."""

ROWS, COLUMNS, CLASSES = 64, 80, 2
CLASS_NAMES = ("normal", "lesion")
MEASUREMENTS = 7
CASES = [
    pytest.param(name, task, kind, id=f"{name}-{task}-{kind}")
    for name in models
    for task in models.get(name).tasks
    for axes, kinds in ((2, ("grey", "colour")), (3, ("grey volume", "colour volume")), (0, ("table",)))
    for kind in kinds
    if axes in models.get(name).axes
]
every_case = pytest.mark.parametrize(("name", "task", "kind"), CASES)


def every_kind_of(task: str) -> pytest.MarkDecorator:
    cases = [(one.values[0], one.values[2]) for one in CASES if one.values[1] == task]
    return pytest.mark.parametrize(("name", "kind"), cases)


def channels_and_axes(kind: str) -> tuple[int, Any]:
    channels = {"grey": 1, "colour": 3, "table": MEASUREMENTS}[kind.split(maxsplit=1)[0]]
    return channels, 0 if kind == "table" else 3 if "volume" in kind else 2


def settings_of(family: Any, kind: str, **own: Any) -> Any:
    known = {key: value for key, value in (SMALL | own).items() if key in family.Settings.model_fields}
    if family is models.get("cnn"):
        known |= {"backbone": "resnet10", "width": 0.1} if "volume" in kind else {"width": 1.0}
    return family.Settings(**known)


def model_of(name: str, task: Any, kind: str, *, pretrained: bool = True, **own: Any) -> Model:
    family = models.get(name)
    torch.manual_seed(5)
    shape = Shape(task, CLASS_NAMES, *channels_and_axes(kind))
    model: Model = family.build(settings_of(family, kind, **own), shape, pretrained=pretrained)
    return model


def truths_of(boxes: list[tuple[int, int, int, int]], task: str) -> Truths:
    masks = torch.zeros(len(boxes), ROWS, COLUMNS, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    classes = torch.arange(len(boxes)) % CLASSES
    return Truths(torch.tensor(boxes).float().reshape(-1, 4), classes, masks if task == "masks" else None)


def batch_of(task: str, kind: str, lesions: list[list[tuple[int, int, int, int]]] | None = None) -> Batch:
    """Bright rectangles on noise; by default, what an image holds can be told from its pixels."""
    if lesions is None:
        lesions = [[(8, 8, 40, 40)], [(48, 20, 72, 44), (4, 36, 28, 60)], [(30, 4, 54, 28)], [(20, 30, 60, 60)]]
    channels, axes = channels_and_axes(kind)
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(len(lesions), channels, ROWS, COLUMNS, generator=generator)
    for image, boxes in zip(images, lesions, strict=True):
        for number, (left, top, right, bottom) in enumerate(boxes):
            image[:, top:bottom, left:right] += 1 + number
    if axes == 0:
        images = 0.1 * torch.randn(len(lesions), channels, 1, 1, generator=generator)
        images[1::2] += 1.0
    if axes == 3:  # smaller in the plane, and the lesion in some slices only
        images = functional.avg_pool2d(images, 3)
        images = torch.stack([images * share for share in (0.1, 0.5, 1.0, 1.0, 0.5, 0.2, 0.1)], 2)
    ids = tuple(f"case-{number}" for number in range(len(lesions)))
    batch = Batch(laid_out(images, "channels_last"), ids)
    if task == "reconstruction":
        return batch
    if task == "single-label":
        return replace(batch, targets=torch.arange(len(lesions)) % CLASSES)
    if task == "multi-label":
        known = torch.tensor([[1.0, 0.0], [0.0, float("nan")], [1.0, 1.0], [float("nan"), 1.0]])
        return replace(batch, targets=known[: len(lesions)])
    return replace(batch, truths=tuple(truths_of(boxes, task) for boxes in lesions))


def loss_of(model: Model, batch: Batch) -> Tensor:
    losses = model.loss(batch)
    assert losses
    assert all(isinstance(name, str) and value.shape == () for name, value in losses.items())
    return torch.stack(list(losses.values())).sum()


def answer_of(model: Model, images: Tensor) -> Output:
    model.eval()
    with torch.inference_mode():
        return model.predict(images)


def tensors_of(output: Output) -> list[Tensor]:
    whole = (output.scores, output.frame_scores, output.heatmaps, output.restored)
    found = [one for one in whole if one is not None]
    for marks in output.marks or ():
        found += [marks.boxes, marks.scores, marks.classes, *([] if marks.masks is None else [marks.masks])]
    return found


def learn(model: Model, batch: Batch, steps: int) -> list[float]:
    optimiser = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    model.train()
    seen = []
    for _ in range(steps):
        torch.manual_seed(1)  # what a family samples at random is the same in every step
        loss = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    return seen


@every_case
def test_a_family_learns_one_batch(name: str, task: str, kind: str) -> None:
    model, batch = model_of(name, task, kind), batch_of(task, kind)
    seen = learn(model, batch, steps=12)
    while max(seen[-3:]) >= 0.75 * seen[0] and len(seen) < 72:  # small families need more steps, and these are quick
        seen += learn(model, batch, steps=12)
    assert max(seen[-3:]) < 0.75 * seen[0], seen


@every_case
def test_the_same_seed_makes_the_same_network(name: str, task: str, kind: str) -> None:
    first, second = (model_of(name, task, kind).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_kind_of("single-label")
def test_a_family_that_balances_learns_otherwise_from_weights_and_any_other_does_not(name: str, kind: str) -> None:
    batch = batch_of("single-label", kind)
    losses = []
    for weights in (None, torch.linspace(0.2, 3.0, len(batch.case_ids))):
        model = model_of(name, "single-label", kind)
        torch.manual_seed(5)
        losses.append(float(loss_of(model, replace(batch, weights=weights)).detach()))
    assert (losses[0] != losses[1]) == models.get(name).balances


@every_kind_of("single-label")
def test_what_a_family_has_learned_it_answers(name: str, kind: str) -> None:
    model, batch = model_of(name, "single-label", kind), batch_of("single-label", kind)
    learn(model, batch, steps=40)
    scores = answer_of(model, batch.images).scores
    assert scores is not None
    assert scores.gather(1, batch.labels[:, None]).mean() > 0.5


@every_kind_of("multi-label")
def test_a_case_of_which_nothing_is_known_teaches_nothing(name: str, kind: str) -> None:
    model, batch = model_of(name, "multi-label", kind).eval(), batch_of("multi-label", kind)
    known = batch.labels[:3]
    unknown = torch.full_like(batch.labels[3:], float("nan"))
    fewer = Batch(batch.images[:3], batch.case_ids[:3], targets=known)
    torch.testing.assert_close(
        loss_of(model, replace(batch, targets=torch.cat([known, unknown]))), loss_of(model, fewer)
    )


@every_case
def test_every_parameter_that_asks_for_a_gradient_gets_one(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind).train()
    learn(model, batch_of(task, kind), steps=2)  # a layer that starts at zero gives nothing back at first
    model.zero_grad()
    loss_of(model, batch_of(task, kind)).backward()
    without = [key for key, one in model.named_parameters() if one.requires_grad and one.grad is None]
    assert not without
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)
    moved = [one.grad.abs().sum() > 0 for one in model.parameters() if one.grad is not None]
    assert sum(moved) > 0.8 * len(moved)


@every_case
def test_an_answer_has_one_entry_an_image_in_its_range(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    learn(model, batch, steps=3)
    output = answer_of(model, batch.images)
    assert output.scores is not None or output.marks is not None or output.restored is not None
    if output.scores is not None:
        assert output.scores.shape == (4, CLASSES)
        assert ((output.scores >= 0) & (output.scores <= 1)).all()
        if task == "single-label":
            torch.testing.assert_close(output.scores.sum(1), torch.ones(4))
    if task in ("boxes", "masks"):
        assert output.marks is not None
        assert len(output.marks) == 4
        assert sum(len(marks.scores) for marks in output.marks)


@every_case
def test_marks_are_sorted_by_score_and_lie_inside_the_image(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    learn(model, batch, steps=3)
    for marks in answer_of(model, batch.images).marks or ():
        n = len(marks.scores)
        assert marks.boxes.shape == (n, 4)
        assert marks.classes.shape == (n,)
        assert marks.classes.dtype == torch.int64
        assert ((marks.classes >= 0) & (marks.classes < CLASSES)).all()
        assert ((marks.scores >= 0) & (marks.scores <= 1)).all()
        assert (marks.scores.diff() <= 0).all()
        left, top, right, bottom = marks.boxes.unbind(1)
        assert ((left >= 0) & (top >= 0) & (right <= COLUMNS) & (bottom <= ROWS)).all()
        assert ((right >= left) & (bottom >= top)).all()
        assert (marks.masks is not None) == (task == "masks")
        if marks.masks is not None:
            assert marks.masks.shape == (n, *marks.masks.shape[1:2] * 2)
            assert ((marks.masks >= 0) & (marks.masks <= 1)).all()


@every_case
def test_saved_and_loaded_weights_give_equal_answers(name: str, task: str, kind: str, tmp_path: Path) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    learn(model, batch, steps=2)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    again = model_of(name, task, kind, pretrained=False)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    expected, found = answer_of(model, batch.images), answer_of(again, batch.images)
    assert len(tensors_of(expected)) == len(tensors_of(found)) > 0
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(expected), tensors_of(found), strict=True))


@every_case
def test_a_loss_leaves_no_trace_in_an_answer_nor_an_answer_in_a_loss(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    learn(model, batch, steps=2)
    kept = {key: value.clone() for key, value in model.state_dict().items()}

    def loss_now() -> float:
        torch.manual_seed(3)
        model.load_state_dict(kept)  # the running means of norms move while a loss is computed
        model.train()
        return float(loss_of(model, batch).detach())

    first_loss = loss_now()
    model.load_state_dict(kept)
    first_answer = tensors_of(answer_of(model, batch.images))
    assert loss_now() == first_loss
    model.load_state_dict(kept)
    second_answer = tensors_of(answer_of(model, batch.images))
    assert all(torch.equal(a, b) for a, b in zip(first_answer, second_answer, strict=True))


@every_case
def test_loss_and_predict_return_the_same_kind_of_thing_in_either_mode(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    kinds = []
    for training in (True, False, True):
        model.train(training)
        losses = model.loss(batch)
        model.train(training)
        with torch.no_grad():
            output = model.predict(batch.images)
        kinds.append((sorted(losses), output.scores is None, output.marks is None))
        assert torch.isfinite(torch.stack(list(losses.values()))).all()
    assert kinds[0] == kinds[1] == kinds[2]


@every_case
def test_an_answer_does_not_hang_on_the_other_images(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    learn(model, batch, steps=2)
    together, alone = answer_of(model, batch.images), answer_of(model, batch.images[:1])
    if together.scores is not None and alone.scores is not None:
        torch.testing.assert_close(together.scores[:1], alone.scores, rtol=1e-4, atol=1e-5)
    if together.marks is not None and alone.marks is not None:
        torch.testing.assert_close(together.marks[0].scores, alone.marks[0].scores, rtol=1e-3, atol=1e-4)


LENGTHS = (7, 1, 3, 6)
LESIONS: dict[str, list[list[tuple[int, int, int, int]]]] = {
    "none at all": [[], []],
    "none in one image": [[(10, 10, 30, 30)], []],
    "at every border": [[(0, 0, 20, 20), (60, 44, 80, 64)], [(0, 0, COLUMNS, ROWS)]],
    "single pixels": [[(0, 0, 1, 1), (79, 63, 80, 64)], [(40, 32, 41, 33)]],
    "lines": [[(0, 10, COLUMNS, 11)], [(5, 0, 6, ROWS)]],
    "the same twice": [[(10, 10, 30, 30), (10, 10, 30, 30)], [(10, 10, 30, 30)]],
    "very many": [[(2 * n, n, 2 * n + 9, n + 9) for n in range(30)], []],
}


@pytest.mark.parametrize("lesions", LESIONS)
@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name in models for task in models.get(name).tasks if task in ("boxes", "masks")]
)
def test_lesions_of_any_kind_are_learned_from_without_nan(name: str, task: str, lesions: str) -> None:
    model = model_of(name, task, "grey")
    batch = batch_of(task, "grey", LESIONS[lesions])
    learn(model, batch, steps=2)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert all(torch.isfinite(value).all() for value in tensors_of(answer_of(model, batch.images)))


@every_case
def test_one_image_whose_sides_are_odd_is_answered(name: str, task: str, kind: str) -> None:
    channels, axes = channels_and_axes(kind)
    sizes = {0: (1, 1), 2: (65, 83), 3: (5, 27, 33)}
    output = answer_of(model_of(name, task, kind), torch.zeros(1, channels, *sizes[axes]))
    assert all(torch.isfinite(value).all() for value in tensors_of(output))
    for marks in output.marks or ():
        assert (marks.boxes <= torch.tensor([83.0, 65.0, 83.0, 65.0])).all()


@every_case
def test_truth_of_another_kind_is_asked_for_by_name(name: str, task: str, kind: str) -> None:
    if task == "reconstruction":
        pytest.skip("images are their own truth")
    batch = Batch(batch_of(task, kind).images, ("a", "b", "c", "d"))
    with pytest.raises(TruthAbsent, match="'marks'" if task in ("boxes", "masks") else "'labels'"):
        model_of(name, task, kind).loss(batch)


@every_case
def test_an_answer_is_computed_on_a_batch_that_is_left_alone(name: str, task: str, kind: str) -> None:
    model = model_of(name, task, kind)
    batch = batch_of(task, kind)
    images = batch.images.clone()
    truths = [one.boxes.clone() for one in batch.truths or ()]
    learn(model, batch, steps=1)
    answer_of(model, batch.images)
    assert torch.equal(batch.images, images)
    assert all(torch.equal(a.boxes, b) for a, b in zip(batch.truths or (), truths, strict=True))


@pytest.mark.parametrize("name", list(models))
def test_settings_refuse_what_they_do_not_know_and_do_not_change(name: str) -> None:
    settings = models.get(name).Settings
    with pytest.raises(ValidationError, match="no_such_setting"):
        settings(no_such_setting=1)
    made = settings()
    for key in settings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, key, getattr(made, key))


@every_case
def test_what_a_family_says_of_frames_and_places_has_the_shape_of_the_images(name: str, task: str, kind: str) -> None:
    model, batch = model_of(name, task, kind), batch_of(task, kind)
    learn(model, batch, steps=2)
    output = answer_of(model, batch.images)
    assert (output.restored is not None) == (task == "reconstruction")
    if output.restored is not None:
        assert output.restored.shape == batch.images.shape
    if output.heatmaps is not None:
        assert output.heatmaps.shape == (4, *batch.images.shape[2:])
        assert (output.heatmaps >= 0).all()
    assert (output.frame_scores is not None) == models.get(name).takes_sequences
    if output.frame_scores is not None:
        assert output.frame_scores.shape == (4, batch.images.shape[2], CLASSES)
        assert ((output.frame_scores >= 0) & (output.frame_scores <= 1)).all()


@every_case
def test_slices_that_only_fill_up_a_sequence_change_nothing(name: str, task: str, kind: str) -> None:
    if not models.get(name).takes_sequences:
        pytest.skip("takes images of one size")
    model, batch = model_of(name, task, kind).eval(), batch_of(task, kind)
    alone = torch.stack(
        [answer_of(model, batch.images[i : i + 1, :, :length]).scores[0] for i, length in enumerate(LENGTHS)]
    )
    junk = batch.images.clone()
    for image, length in zip(junk, LENGTHS, strict=True):
        image[:, length:] = 1e6
    lengths = torch.tensor(LENGTHS)
    filled, other = replace(batch, lengths=lengths), replace(batch, images=junk, lengths=lengths)
    torch.testing.assert_close(loss_of(model, filled), loss_of(model, other))
    whole, _ = model._logits(filled.images, lengths)
    torch.testing.assert_close(model._labelling.scores(whole), alone, rtol=1e-4, atol=1e-5)
    assert all(not value.isnan().any() for value in model.state_dict().values())


@pytest.mark.parametrize("name", list(models))
def test_a_family_says_which_truth_it_learns_from(name: str) -> None:
    tasks = models.get(name).tasks
    assert tasks
    assert set(tasks) <= {"single-label", "multi-label", "boxes", "masks", "reconstruction"}


class Killed(Exception):
    """As a person or a machine would."""


class Halves:
    """A batch in two halves, whose order and number of slices hang on the epoch; it may be cut off in an epoch."""

    def __init__(self, whole: Batch, *, breaks_in: int | None = None) -> None:
        self._whole = whole
        self._breaks_in = breaks_in

    def __len__(self) -> int:
        return 2

    def epoch(self, number: int) -> Iterator[Batch]:
        whole = self._whole
        for half in ((0, 2), (2, 4)) if number % 2 else ((2, 4), (0, 2)):
            some = slice(*half)
            yield replace(
                whole,
                images=whole.images[some],
                case_ids=whole.case_ids[some],
                targets=None if whole.targets is None else whole.targets[some],
                truths=None if whole.truths is None else whole.truths[some],
                lengths=None if whole.lengths is None else whole.lengths[some],
            )
            if number == self._breaks_in:
                raise Killed


class KilledAt(Silent):
    """Stops the training when this is said, which is right after a checkpoint was written."""

    def __init__(self, words: str) -> None:
        self.words = words

    def say(self, line: str) -> None:
        if self.words in line:
            raise Killed


def fitted(
    name: str,
    task: str,
    kind: str,
    folder: Path,
    *,
    before: int = 0,
    breaks_in: int | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """A training of three epochs, with all that draws and all that remembers; `before` it so many of pre-training."""
    folder.mkdir(exist_ok=True)
    model = model_of(name, task, kind, dropout=0.3, noise=(0.02, 0.2))
    batch = batch_of(task, kind)
    if models.get(name).takes_sequences:
        batch = replace(batch, lengths=torch.tensor(LENGTHS))
    batches = Halves(batch, breaks_in=breaks_in)
    how = TrainingSection(epochs=3, average=0.9, memory_format="channels_last")
    told: dict[str, Any] = {"seed": 3, "fabric": fabric_for("cpu", "float32"), "fold": "of these cases"}
    told |= {"progress": progress or Silent()}

    def judge(judged: Model) -> float:
        torch.rand(7)  # a judge that draws must not change what comes after
        return float(torch.cat([one.double().flatten() for one in tensors_of(answer_of(judged, batch.images))]).std())

    if before:
        section = PretrainingSection(epochs=before)
        path = folder / "before.safetensors"
        how_before: dict[str, Any] = {"section": section, "training": how, "checkpoint": path, "what": "before"}
        pretrain(model, batches, images=batch.images[:1], **how_before, **told)
    return fit(model, batches, section=how, checkpoint=folder / "c.safetensors", score=judge, what="training", **told)


def assert_ends_alike(found: Fitted, expected: Fitted) -> None:
    assert found.epoch == expected.epoch
    assert [replace(one, seconds=0.0) for one in found.history] == [
        replace(one, seconds=0.0) for one in expected.history
    ]
    assert set(found.weights) == set(expected.weights)
    assert [name for name, value in expected.weights.items() if not torch.equal(found.weights[name], value)] == []


@every_case
def test_a_training_that_was_killed_in_and_after_an_epoch_ends_with_the_same_bits(
    name: str, task: str, kind: str, tmp_path: Path
) -> None:
    expected = fitted(name, task, kind, tmp_path / "whole")
    for cut in ({"progress": KilledAt("epoch 1 of")}, {"breaks_in": 1}, {"progress": KilledAt("epoch 2 of")}):
        with pytest.raises(Killed):
            fitted(name, task, kind, tmp_path / "cut", **cut)
        torch.rand(9)  # another process has drawn other numbers
    assert_ends_alike(fitted(name, task, kind, tmp_path / "cut"), expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name, task, kind in (one.values for one in CASES)
        if task == models.get(name).tasks[0] and issubclass(models.get(name), HasLevels)
    ],
)
def test_a_training_with_pre_training_that_was_killed_in_either_ends_with_the_same_bits(
    name: str, kind: str, tmp_path: Path
) -> None:
    task = models.get(name).tasks[0]  # no label is looked at
    expected = fitted(name, task, kind, tmp_path / "whole", before=2)
    for cut in (
        {"progress": KilledAt("before: epoch 1 of")},
        {"breaks_in": 1},
        {"progress": KilledAt("before: epoch 2 of")},
        {"progress": KilledAt("training: epoch 2 of")},
    ):
        with pytest.raises(Killed):
            fitted(name, task, kind, tmp_path / "cut", before=2, **cut)
        torch.rand(9)
    assert_ends_alike(fitted(name, task, kind, tmp_path / "cut", before=2), expected)
