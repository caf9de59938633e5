"""What a training takes is said before it begins, and one that does not fit into memory does not begin."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection, DataSection
from overread.data.split import folds_of
from overread.errors import InputError, RecipeError, TooLittleMemory
from overread.models.contract import Batch, Model, Output
from overread.preprocessing.section import step_from
from overread.preprocessing.step import Step
from overread.progress import Silent
from overread.training.climbing import MARGIN
from overread.training.computing import Computing, save_computing
from overread.training.crossval import Plan, checkpoint_of, fit_folds
from overread.training.forecast import Training
from overread.training.loop import fabric_for
from overread.training.preflight import COMPUTED, _begun, ready
from overread.training.rehearsal import Choosing, _heaviest, _kept_bytes, rehearsed
from overread.training.section import PretrainingSection, SearchSection, Settings, TrainingSection

GB = 10**9
PLAIN = Computing(device="cpu", precision="float32", memory_format="contiguous")
RESIZE = {"step": "resize", "height": 12, "width": 12}
SECTION = TrainingSection(epochs=2, batch_size=5, keep="last")


class Small(Model):
    """Has levels, dropout and a norm, and may take its time to learn from a case."""

    def __init__(self, case_s: float = 0.0, levels_s: float = 0.0) -> None:
        super().__init__()
        self.case_s, self.levels_s = case_s, levels_s
        self.conv, self.norm, self.drop, self.line = (
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.Dropout(),
            nn.Linear(4, 2),
        )

    def _features(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(images)))

    def levels(self, images: Tensor) -> list[Tensor]:
        time.sleep(self.levels_s * len(images) * self.training)
        return [self._features(images)]

    def _logits(self, images: Tensor) -> Tensor:
        return self.line(self.drop(self._features(images).mean((2, 3))))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        time.sleep(self.case_s * len(batch.images))
        return {"label": nn.functional.cross_entropy(self._logits(batch.images).float(), batch.labels)}

    def predict(self, images: Tensor) -> Output:
        return Output(scores=self._logits(images).float().softmax(1))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Sixteen patients with an image each; two of the images are large."""
    folder, names = tmp_path_factory.mktemp("images"), ("benign", "malignant")
    cases = []
    for number in range(16):
        side = 40 if number in (3, 4) else 12
        pixels = np.random.default_rng(number).integers(0, 200, (side, side))
        Pillow.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        labels = {name: name == names[number % 2] for name in names}
        cases.append(Case(f"case-{number:02}", f"p-{number}", (ImageRef(folder / f"{number}.png"),), labels))
    return Manifest("sixteen", "test", "single-label", names, tuple(cases))


@pytest.fixture(scope="module")
def folds(manifest: Manifest) -> list[Fold]:
    return list(folds_of(manifest, DataSection(folds=2, validation=0.0), seed=5))


class Run:
    """A run of a small network, and what it was told."""

    def __init__(self, manifest: Manifest, folds: Sequence[Fold], folder: Path, section: TrainingSection) -> None:
        self.manifest, self.folds, self.folder, self.section = manifest, folds, folder, section
        self.folder.mkdir(exist_ok=True)
        self.build: Callable[[], Model] = Small
        self.pretraining = PretrainingSection()
        self.asked: list[int] = []
        self.said: list[str] = []
        self.tried: list[Settings] = []
        self.resized = True
        self.crop: int | None = None

    def plan_of(self, computing: Computing) -> Plan:
        return Plan(
            manifest=self.manifest,
            images=PreparedImages(self.folder.parent / "cache"),
            steps=(*[step_from(RESIZE)] * self.resized, step_from({"step": "min-max"})),
            build=self.build,
            axes=2,
            augmentation=AugmentationSection(flip=True, noise=0.1, crop=self.crop),
            pretraining=self.pretraining,
            training=computing.put_into(self.section),
            seed=3,
            fabric=fabric_for("cpu", computing.precision),
            judge=lambda *_: None,
        )

    def vary(self, plan: Plan, settings: Settings) -> Plan:
        """Knows "model.case_ms" and all of the training."""
        if any(key.startswith("model.") for key in settings) and settings not in self.tried:
            self.tried.append(dict(settings))
        training = {key.partition(".")[2]: value for key, value in settings.items() if key.startswith("training.")}
        build = partial(Small, settings["model.case_ms"] / 1000) if "model.case_ms" in settings else plan.build
        return replace(plan, build=build, training=plan.training.model_copy(update=training))

    def _asking(self, before: Sequence[Fold], space: dict[str, Any] | None) -> dict[str, Any]:
        def answer(_how: Computing, model: Model, _steps: Sequence[Step], cases: Sequence[Case]) -> None:
            self.asked.append(len(cases))
            model.eval().predict(torch.zeros(len(cases), 1, 12, 12))

        choosing = Choosing(SearchSection(space=space or {}), self.vary, before)
        return {
            "section": self.section,
            "choosing": choosing,
            "device": "cpu",
            "answer": answer,
            "at_once": 8,
            "folder": self.folder,
        }

    def ready(self, before: Sequence[Fold] = (), space: dict[str, Any] | None = None) -> Computing:
        told = Silent()
        told.say = self.said.append  # type: ignore[method-assign]
        asking = self._asking(before, space)
        return ready(self.plan_of, self.folds, **asking, progress=told)

    def rehearsed(self, space: dict[str, Any] | None = None) -> Any:
        return rehearsed(self.plan_of, self.folds, **self._asking((), space), kept=PLAIN)

    def fit(self, computing: Computing) -> list[dict[str, Tensor]]:
        found = fit_folds(self.plan_of(computing), self.folds, folder=self.folder / "folds", progress=Silent())
        return [dict(fold.fitted.weights) for fold in found]


@pytest.fixture
def run(manifest: Manifest, folds: list[Fold], tmp_path: Path) -> Run:
    return Run(manifest, folds, tmp_path / "run", SECTION)


def test_time_and_memory_are_told_before_the_training(run: Run) -> None:
    computing = run.ready()
    assert f"computing in {computing.precision}" in run.said[-2]
    assert run.said[-1].startswith("this training takes about ")
    assert run.said[-1].endswith("GB of memory")
    assert run.asked == [2, 8]


def test_the_training_begins_as_if_nothing_had_been_tried(run: Run, manifest: Manifest, folds: list[Fold]) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    computing = run.ready()
    assert torch.equal(torch.get_rng_state(), state)
    other = Run(manifest, folds, run.folder.parent / "other", SECTION)
    for weights, expected in zip(run.fit(computing), other.fit(computing), strict=True):
        assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_a_run_goes_on_with_what_it_chose(run: Run) -> None:
    chosen = Computing(device="cuda", precision="bf16", memory_format="contiguous")
    save_computing(run.folder / COMPUTED, chosen)
    before = (run.folder / COMPUTED).read_bytes()
    found = run.ready()
    assert (found.device, found.precision, found.memory_format) == ("cpu", "bf16", "contiguous")
    assert (run.folder / COMPUTED).read_bytes() == before


def test_what_was_chosen_is_kept_from_the_first_moment(run: Run) -> None:
    computing = run.ready()
    assert len(computing.trials) == 4
    assert run.ready() == computing


@pytest.mark.parametrize("words", ["", "[]", '{"precision": "bf16"}', '{"precision": "half", "memory_format": "x"}'])
def test_a_choice_that_is_damaged_is_refused_and_left_alone(words: str, run: Run) -> None:
    (run.folder / COMPUTED).write_text(words)
    with pytest.raises(InputError, match=r"'computed.json' should say how this run computes"):
        run.ready()
    assert (run.folder / COMPUTED).read_text() == words


def seconds(run: Run) -> float:
    """What was told, in seconds."""
    found = run.said[-1].split()
    return float(found[4]) * {"s": 1, "min": 60, "h": 3600}[found[5]]


def test_trainings_that_come_before_those_of_the_folds_are_counted(run: Run, folds: list[Fold]) -> None:
    run.section = SECTION.model_copy(update={"epochs": 20_000, "precision": "float32", "memory_format": "contiguous"})
    run.ready()
    alone = seconds(run)
    run.ready(before=[*folds] * 500)
    assert seconds(run) > 3 * alone  # 1002 trainings instead of two; how quick each is, a busy machine or disk moves


def test_a_run_that_has_its_epochs_behind_it_takes_less(run: Run) -> None:
    run.section = SECTION.model_copy(update={"epochs": 20_000, "precision": "float32", "memory_format": "contiguous"})
    computing = run.ready()
    whole = seconds(run)
    run.section = SECTION.model_copy(update={"epochs": 3, "precision": "float32", "memory_format": "contiguous"})
    run.fit(computing)
    run.section = run.section.model_copy(update={"epochs": 4})
    run.ready()
    assert seconds(run) < whole / 100


class Ruled:
    """A memory whose peak a rule says, from how often it was begun anew, with so much room."""

    def __init__(self, rule: Callable[[int], float], room_gb: float) -> None:
        self.rule, self.room = rule, int(room_gb * GB)
        self.begun = 0

    def restart(self) -> None:
        self.begun += 1

    def peak_bytes(self) -> int:
        return int(self.rule(self.begun) * GB)

    def used_bytes(self) -> int:
        return 0

    def room_bytes(self) -> int:
        return self.room


def rule(monkeypatch: pytest.MonkeyPatch, gigabytes: Callable[[int], float], *, room_gb: float = 999) -> None:
    memory = Ruled(gigabytes, room_gb)
    monkeypatch.setattr("overread.training.rehearsal.memory_of", lambda _: memory)


def test_what_does_not_fit_is_refused_with_a_number_that_does(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch, lambda begun: 1 + (2, 3)[begun - 1], room_gb=4.5 * MARGIN)  # two images, then three
    said = r"Steps of 5 images .* training.batch_size to 3 or less, .* about 6.9 GB of memory, and there are 5.2 GB"
    with pytest.raises(TooLittleMemory, match=said):
        run.ready()
    assert not (run.folder / COMPUTED).exists()
    assert not run.asked


def test_the_heaviest_lot_is_the_one_with_the_most_in_images_of_one_size(run: Run, manifest: Manifest) -> None:
    keys = [case.case_id for case in manifest.cases]
    plan = run.plan_of(PLAIN)
    found = _heaviest(plan, [Fold(0, (), tuple(keys[8:]), tuple(keys[:8]))], 3)
    assert [case.case_id for case in found] == ["case-03", "case-04", "case-05"]


def test_what_is_asked_about_and_does_not_fit_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch, lambda _: 1 + (run.asked[-1] if run.asked else 0), room_gb=5 * MARGIN)
    said = r"^Asking the model about 8 images does not fit into memory.* about 10 GB of memory, and there are 5.8 GB"
    with pytest.raises(TooLittleMemory, match=said):
        run.ready()
    assert max(run.asked) < 5
    assert not (run.folder / COMPUTED).exists()


def test_memory_is_told_with_a_margin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch, lambda _: 4)
    run.ready()
    assert run.said[-1].endswith(f"up to {4 * MARGIN:.1f} GB of memory")


def test_the_weights_of_finished_folds_and_a_checkpoint_are_counted_beside_what_is_taken(
    run: Run, folds: list[Fold], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(9, 10)  # 100 numbers of 4 bytes
    assert _kept_bytes(model, folds) == 400 * (2 * 2 + 5)  # type: ignore[arg-type]
    rule(monkeypatch, lambda _: 0)
    *_, peak = run.rehearsed()
    assert peak == _kept_bytes(Small(), folds)


def test_nothing_that_takes_time_is_told_to_take_none(run: Run) -> None:
    run.pretraining = PretrainingSection(epochs=1)
    run.build = partial(Small, 0.004, 0.008)
    _, costs, _ = run.rehearsed()
    assert costs.image_s > 0
    assert costs.start_s > 0
    assert costs.answer_s > 0
    assert costs.save_s > 0
    assert not list(run.folder.iterdir())  # what was saved is gone
    assert costs.learn_s >= 0.004
    assert costs.pretrain_s >= 0.008  # a step of it is another than one of the training


def test_memory_of_pre_training_is_approached_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = [""]

    class Told(Small):
        def levels(self, images: Tensor) -> list[Tensor]:
            learned.append("images" if self.training else "")
            return super().levels(images)

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            learned.append("labels")
            return super().loss(batch)

    run.build = Told
    rule(monkeypatch, lambda _: 3 if learned[-1] == "images" else 1, room_gb=4)
    assert run.rehearsed()[2] == GB
    run.pretraining = PretrainingSection(epochs=1)
    with pytest.raises(TooLittleMemory, match=r"Steps of 5 images do not fit .* set training.batch_size to 2"):
        run.rehearsed()


def test_of_pre_training_and_training_the_epochs_that_were_done_are_known(run: Run) -> None:
    run.pretraining, run.section = PretrainingSection(epochs=2), run.section.model_copy(update={"epochs": 1})
    checkpoint = checkpoint_of(run.folds[0], run.folder / "folds")
    assert _begun(run.folds[0], checkpoint) == Training(run.folds[0])
    run.fit(PLAIN)
    assert _begun(run.folds[0], checkpoint) == Training(run.folds[0], pretrained=2, trained=1)


@pytest.mark.parametrize("values", [[1, 3, 2], [3, 1, 2]])
def test_every_value_that_costs_is_rehearsed_with_the_heaviest_before_it(
    values: list[int], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(monkeypatch, lambda _: run.tried[-1]["model.case_ms"] * run.tried[-1]["training.batch_size"] / 10)
    space = {"model.case_ms": values, "training.batch_size": [4, 8], "training.learning_rate": [1e-3, 1e-4]}
    run.ready(space=space)
    tried = [(one["model.case_ms"], one["training.batch_size"]) for one in run.tried]
    assert tried == [*((value, 4) for value in values), (3, 8)]
    assert run.said[-1].endswith(f"up to {2.4 * MARGIN:.1f} GB of memory")


def test_a_value_that_does_not_fit_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch, lambda _: run.tried[-1]["model.case_ms"], room_gb=2 * MARGIN)
    said = r"^\[search.space\] with model.case_ms = 3: Not even 2 images a step fit"
    with pytest.raises(TooLittleMemory, match=said):
        run.ready(space={"model.case_ms": [1, 3]})
    assert not (run.folder / COMPUTED).exists()


def test_a_search_takes_the_mean_time_of_what_may_be_chosen(run: Run, folds: list[Fold]) -> None:
    _, costs, _ = run.rehearsed({"model.case_ms": [30, 90], "training.batch_size": [4, 8]})
    assert 0.045 <= costs.learn_s < 0.08  # of its two values the mean
    run.section = SECTION.model_copy(update={"precision": "float32", "memory_format": "contiguous"})
    run.ready(before=[*folds] * 2, space={"model.case_ms": [0, 40], "training.epochs": [100, 500]})
    least = (2 + 4) * 8 * 300 * 0.02  # trainings of 8 cases, epochs and seconds on average
    assert 0.75 * least <= seconds(run) < 10 * least  # a busy disk adds to it


class Narrow(Small):
    """A norm sees one value a channel, as behind maps that were made one pixel."""

    def _features(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images).mean((2, 3), keepdim=True))


class Picky(Small):
    """Takes what it is told to take alone."""

    def __init__(self, takes: Callable[[Tensor, bool], bool]) -> None:
        super().__init__()
        self.takes = takes

    def _features(self, images: Tensor) -> Tensor:
        if not self.takes(images, self.training):
            raise RuntimeError("such images are not for me")
        return super()._features(images)


def refused(run: Run, said: str, **asked: Any) -> None:
    with pytest.raises(RecipeError, match=said):
        run.ready(**asked)
    assert not list(run.folder.iterdir())


def test_one_case_a_batch_is_refused_where_a_norm_cannot_bear_it_and_else_taken(run: Run) -> None:
    run.section = SECTION.model_copy(update={"batch_size": 1})
    run.ready()
    (run.folder / COMPUTED).unlink()
    run.build = Narrow
    refused(run, r"^training\.batch_size: .*Set it to 2 or more")


@pytest.mark.parametrize("batch_size", [2, 7])
def test_a_last_batch_of_one_case_is_left_out(batch_size: int, run: Run, folds: list[Fold]) -> None:
    run.build, run.section = Narrow, SECTION.model_copy(update={"batch_size": batch_size, "epochs": 1})
    run.folds = [replace(fold, fit=fold.fit[: batch_size + 1]) for fold in folds]
    run.fit(run.ready())


def test_the_smallest_image_is_learned_from_before_the_training_too(run: Run) -> None:
    run.resized, run.section = False, SECTION.model_copy(update={"batch_size": 1})
    run.build = partial(Picky, lambda images, training: not training or images.shape[-1] == 40)
    refused(run, r"^model: it cannot take a batch of 1 x 1 x 12 x 12 \(case, .*such images are not for me")


@pytest.mark.parametrize("side", [12, 40])
def test_an_image_that_can_be_learned_from_but_not_answered_is_refused_before(side: int, run: Run) -> None:
    run.resized, run.crop = False, 32
    run.build = partial(Picky, lambda images, training: training or images.shape[-1] != side)
    refused(run, rf"^model: it cannot take a batch of 1 x 1 x {side} x {side} ")


def test_levels_that_cannot_be_trained_before_are_refused(run: Run) -> None:
    run.pretraining = PretrainingSection(epochs=1)
    run.build = partial(Picky, lambda images, training: training)
    refused(run, r"^model: it cannot take a batch of 1 x 1 x 12 x 12 .*such images are not for me")


def test_a_setting_to_choose_from_with_which_a_first_step_fails_is_named(run: Run) -> None:
    run.build = Narrow
    space = {"training.batch_size": [4, 1]}
    refused(run, r"^\[search.space\] with training.batch_size = 1: training.batch_size: ", space=space)
