"""What trainings take is counted from what one of each thing takes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection, DataSection
from overread.data.split import folds_of
from overread.models.mlp import Mlp
from overread.preprocessing.section import step_from
from overread.training.crossval import Plan
from overread.training.forecast import Costs, Forecast, Training, seconds_of
from overread.training.loop import fabric_for
from overread.training.section import PretrainingSection, TrainingSection

COSTS = Costs(image_s=1.0, start_s=100.0, pretrain_s=7.0, learn_s=2.0, save_s=0.25, answer_s=0.5)
IMAGES_S = 9 * 1.0
FOLD = Fold(0, tuple("abcd"), tuple("ef"), tuple("ghi"))
LEARNING = step_from({"step": "z-score", "scope": "training"})


def plan(*, pretraining: int = 0, steps: tuple[Any, ...] = (), **training: Any) -> Plan:
    cases = [Case(key, key, (ImageRef(Path(key)),), labels={"no": True, "yes": False}) for key in "abcdefghi"]
    return Plan(
        manifest=Manifest("nine", "test", "single-label", ("no", "yes"), tuple(cases)),
        images=PreparedImages(Path("nowhere")),
        steps=steps,
        build=Mlp,
        axes=2,
        augmentation=AugmentationSection(),
        pretraining=PretrainingSection(epochs=pretraining),
        training=TrainingSection(**{"epochs": 10, "keep": "last", **training}),
        seed=1,
        fabric=fabric_for("cpu", "float32"),
        judge=lambda *_: None,
    )


EPOCH_S = 4 * 2.0 + 0.25
ONCE_S = 100 + 10 * EPOCH_S + (2 + 3) * 0.5
"""Of one training: its start, its epochs with their checkpoints, and the answers of its validation and test parts."""


def test_a_training_takes_its_images_its_start_its_epochs_and_its_answers() -> None:
    assert seconds_of(COSTS, [plan()], [Training(FOLD)]) == IMAGES_S + ONCE_S
    assert seconds_of(COSTS, [plan()], [Training(FOLD, trained=4)]) == IMAGES_S + ONCE_S - 4 * EPOCH_S
    assert seconds_of(COSTS, [plan(epochs=3)], [Training(FOLD, trained=4)]) == IMAGES_S + 100 + 5 * 0.5


@pytest.mark.parametrize(
    "asks", [{"keep": "best"}, {"stop_after": 3}, {"schedule": "on-plateau"}, {"stop_after": 3, "keep": "best"}]
)
def test_a_validation_part_that_is_asked_after_every_epoch_takes_its_time(asks: dict[str, Any]) -> None:
    assert seconds_of(COSTS, [plan(**asks)], [Training(FOLD)]) == IMAGES_S + ONCE_S + 10 * 2 * 0.5


def test_pre_training_has_a_price_of_its_own() -> None:
    learned = 6 * (4 * 7.0 + 0.25)
    assert seconds_of(COSTS, [plan(pretraining=6)], [Training(FOLD)]) == IMAGES_S + ONCE_S + learned
    begun = Training(FOLD, pretrained=5)
    assert seconds_of(COSTS, [plan(pretraining=6)], [begun]) == IMAGES_S + ONCE_S + learned / 6
    ended = Training(FOLD, pretrained=6, trained=1)
    assert seconds_of(COSTS, [plan(pretraining=6)], [ended]) == IMAGES_S + ONCE_S - EPOCH_S


def test_images_are_prepared_anew_for_every_part_that_steps_learn_from_and_else_once() -> None:
    other = Fold(1, tuple("fghi"), (), tuple("abc"))
    trainings = [Training(FOLD), Training(other), Training(FOLD)]
    plain, learning = (seconds_of(COSTS, [plan(steps=steps)], trainings) for steps in ((), (LEARNING,)))
    assert learning - plain == pytest.approx((9 + 7) * 1.0 - IMAGES_S)


def test_of_several_plans_the_mean_counts() -> None:
    plans = [plan(), plan(epochs=20), plan(epochs=60)]
    assert seconds_of(COSTS, plans, [Training(FOLD)] * 2) == IMAGES_S + 2 * (ONCE_S + 20 * EPOCH_S)


def test_every_repeat_of_the_folds_is_counted() -> None:
    manifest = plan().manifest
    once, thrice = (
        folds_of(manifest, DataSection(scheme="repeated-k-fold", folds=3, repeats=repeats, validation=0.0), seed=1)
        for repeats in (2, 6)
    )
    two, six = (seconds_of(COSTS, [plan()], [Training(fold) for fold in folds]) for folds in (once, thrice))
    assert six - IMAGES_S == pytest.approx(3 * (two - IMAGES_S))


def test_a_forecast_is_said_as_a_person_says_it() -> None:
    cores = torch.get_num_threads()
    words = f"about 12 min on {cores} core{'s' * (cores > 1)}, up to 1.6 GB of memory"
    assert str(Forecast(720.0, 1.6e9, "cpu")) == words
