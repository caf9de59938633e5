"""What a training takes is said before it begins, and one that does not fit into memory does not begin."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from torch import Tensor, nn

from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection, DataSection
from overread.data.split import folds_of
from overread.errors import InputError, TooLittleMemory
from overread.models.contract import Batch, Model, Output
from overread.preprocessing.section import step_from
from overread.preprocessing.step import Step
from overread.progress import Silent
from overread.training.computing import Computing, save_computing
from overread.training.crossval import Plan, fit_folds
from overread.training.loop import fabric_for
from overread.training.preflight import COMPUTED, MARGIN, Forecast, _climb, _heaviest, ready
from overread.training.section import PretrainingSection, TrainingSection

SECTION = TrainingSection(epochs=2, batch_size=5, keep="last")
GB = 10**9


class Law:
    """A memory in which everything takes what a law says."""

    def __init__(self, *, base: int, once: int, a_case: int, room: int) -> None:
        self.base, self.once, self.a_case, self.room = base, once, a_case, room
        self.taken: list[int] = []

    def of(self, count: int) -> int:
        return self.base + self.once + self.a_case * count

    def do(self, count: int) -> None:
        self.taken.append(count)

    def restart(self) -> None: ...

    def peak_bytes(self) -> int:
        return self.of(self.taken[-1])

    def used_bytes(self) -> int:
        return self.base + (self.once if self.taken else 0)

    def room_bytes(self) -> int | None:
        return self.room


def climb(law: Law, target: int) -> tuple[int | None, int | None]:
    """The peak, or how many cases fit where so many do not."""
    told: list[int] = []

    def too_many(_target: int, fits: int) -> str:
        told.append(fits)
        return "too many."

    try:
        return _climb(target, law.do, law, too_many), None
    except TooLittleMemory:
        return None, told[0]


laws = st.builds(
    Law,
    base=st.integers(GB // 10, 2 * GB),
    once=st.integers(0, GB),
    a_case=st.integers(0, GB),
    room=st.integers(1, 60 * GB),
)


@settings(max_examples=300, deadline=None)
@given(law=laws, target=st.integers(1, 128))
def test_no_step_is_tried_that_memory_cannot_bear(law: Law, target: int) -> None:
    peak, fits = climb(law, target)
    assert all(law.of(count) <= law.room for count in law.taken[1:])  # of the first, one or two cases, nobody knows
    assert law.taken == sorted(set(law.taken))
    if fits is None:
        assert law.taken[-1] == target
        assert peak == law.of(target)
        assert peak * MARGIN <= law.room * 1.001
    else:
        assert fits < target
        assert fits < 2 or MARGIN * law.of(fits) <= law.room * 1.001


@settings(max_examples=300, deadline=None)
@given(law=laws, target=st.integers(1, 128))
def test_what_fits_with_a_little_to_spare_is_not_refused(law: Law, target: int) -> None:
    law.room = int(1.02 * MARGIN * (law.of(max(target, 3)) + law.once))
    assert climb(law, target) == (law.of(target), None)


def test_where_nobody_says_how_much_there_is_nothing_is_refused() -> None:
    law = Law(base=GB, once=0, a_case=GB, room=0)
    law.room_bytes = lambda: None  # type: ignore[method-assign]
    assert climb(law, 64) == (law.of(64), None)


def test_a_forecast_is_said_as_a_person_says_it() -> None:
    cores = torch.get_num_threads()
    words = f"about 12 min on {cores} core{'s' * (cores > 1)}, up to 1.6 GB of memory"
    assert str(Forecast(720.0, 1.6e9, "cpu")) == words


class Small(Model):
    """Has weights, dropout and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop, self.line = (
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.Dropout(),
            nn.Linear(4, 2),
        )

    def _logits(self, images: Tensor) -> Tensor:
        return self.line(self.drop(torch.relu(self.norm(self.conv(images))).mean((2, 3))))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
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
        self.asked: list[int] = []
        self.said: list[str] = []

    def plan_of(self, computing: Computing) -> Plan:
        return Plan(
            manifest=self.manifest,
            images=PreparedImages(self.folder.parent / "cache"),
            steps=(step_from({"step": "resize", "height": 12, "width": 12}), step_from({"step": "min-max"})),
            build=Small,
            axes=2,
            augmentation=AugmentationSection(flip=True, noise=0.1),
            pretraining=PretrainingSection(),
            training=computing.put_into(self.section),
            seed=3,
            fabric=fabric_for("cpu", computing.precision),
            judge=lambda *_: None,
        )

    def ready(self, before: Sequence[Fold] = ()) -> Computing:
        told = Silent()
        told.say = self.said.append  # type: ignore[method-assign]

        def answer(_how: Computing, model: Model, _steps: Sequence[Step], cases: Sequence[Case]) -> None:
            self.asked.append(len(cases))
            model.eval().predict(torch.zeros(len(cases), 1, 12, 12))

        return ready(
            self.plan_of, self.folds, section=self.section, device="cpu", answer=answer, at_once=8,
            folder=self.folder, progress=told, before=before,
        )  # fmt: skip

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
    run.ready(before=[*folds] * 30)
    assert seconds(run) > 3 * alone  # 61 trainings instead of one or two; how quick each is, a busy machine moves


def test_a_run_that_has_its_epochs_behind_it_takes_less(run: Run) -> None:
    run.section = SECTION.model_copy(update={"epochs": 20_000, "precision": "float32", "memory_format": "contiguous"})
    computing = run.ready()
    whole = seconds(run)
    run.section = SECTION.model_copy(update={"epochs": 3, "precision": "float32", "memory_format": "contiguous"})
    run.fit(computing)
    run.section = run.section.model_copy(update={"epochs": 4})
    run.ready()
    assert seconds(run) < whole / 100


class OfSteps(Law):
    """The memory of steps with two, then with three images."""

    def restart(self) -> None:
        self.do((2, 3)[len(self.taken)])


def test_what_does_not_fit_is_refused_with_a_number_that_does(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    law = OfSteps(base=GB, once=0, a_case=GB, room=int(4.5 * MARGIN * GB))
    monkeypatch.setattr("overread.training.preflight.memory_of", lambda _: law)
    said = r"Steps of 5 images .* training.batch_size to 3 or less, .* about 6.9 GB of memory, and there are 5.2 GB"
    with pytest.raises(TooLittleMemory, match=said):
        run.ready()
    assert not (run.folder / COMPUTED).exists()
    assert not run.asked


def test_the_heaviest_lot_is_the_one_with_the_most_in_images_of_one_size(run: Run, manifest: Manifest) -> None:
    keys = [case.case_id for case in manifest.cases]
    plan = run.plan_of(Computing(device="cpu", precision="float32", memory_format="contiguous"))
    found = _heaviest(plan, [Fold(0, (), tuple(keys[8:]), tuple(keys[:8]))], 3)
    assert [case.case_id for case in found] == ["case-03", "case-04", "case-05"]
