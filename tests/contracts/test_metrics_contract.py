"""What every metric of the catalogue keeps to, so that a new one is tested before its author writes a test."""

import numpy as np
import pytest
from numpy.typing import NDArray

from overread.errors import UndefinedMetric
from overread.evaluation.image_level import ImageQuestion
from overread.evaluation.labels import LabelQuestion
from overread.evaluation.marks import MarkQuestion
from overread.evaluation.metric import Metric, metrics, metrics_of
from overread.evaluation.restoration import RestorationQuestion
from overread.finding import Finding, Mask, Region

SIDE = 40


def region(left: int, top: int, width: int, height: int) -> Region:
    pixels = np.zeros((SIDE, SIDE), dtype=bool)
    pixels[top : top + height, left : left + width] = True
    return Region.from_mask(Mask.from_array(pixels))


def labels(seed: int, kinds: tuple[int, ...] = (0, 1)) -> LabelQuestion:
    rng = np.random.default_rng(seed)
    return LabelQuestion.ask(rng.permutation(np.resize(kinds, 24)), np.round(rng.random(24), 1))


def marks(seed: int, *, nothing_true: bool = False, backwards: bool = False) -> MarkQuestion:
    rng = np.random.default_rng(seed)
    truth, predicted = {}, {}
    for image in range(8):
        spots = [(*rng.integers(0, SIDE - 10, size=2), *rng.integers(5, 10, size=2)) for _ in range(image % 4)]
        truth[f"{image}"] = [] if nothing_true else [Finding("mass", region(*spot)) for spot in spots]
        said = [region(left, top, width, height - 1) for left, top, width, height in spots]
        predicted[f"{image}"] = [Finding("mass", place, score=rng.random()) for place in said]
        predicted[f"{image}"].append(Finding("mass", region(*rng.integers(5, 10, size=4)), score=rng.random()))
    if backwards:
        truth, predicted = dict(reversed(truth.items())), dict(reversed(predicted.items()))
    return MarkQuestion.ask(truth, predicted, label="mass", kind="masks")


def no_images() -> MarkQuestion:
    return MarkQuestion.ask({}, {}, label="mass", kind="masks")


def pictures(seed: int, *, images: int = 12) -> list[list[NDArray[np.float64]]]:
    """Clean, noisy and restored ones."""
    rng = np.random.default_rng(seed)
    clean = [np.cumsum(rng.normal(size=(1, 16, 16)), axis=2) for _ in range(images)]
    return [[image + rng.normal(0, noise, image.shape) for image in clean] for noise in (0.0, 1.0, 0.5)]


def question(metric: Metric, seed: int):
    if metric.of is RestorationQuestion:
        return RestorationQuestion.ask(*pictures(seed))
    return labels(seed) if issubclass(metric.of, LabelQuestion) else marks(seed)


@pytest.fixture(params=list(metrics))
def metric(request: pytest.FixtureRequest) -> Metric:
    return metrics.get(request.param)


def test_a_metric_says_what_it_is(metric):
    assert metric.says
    assert metric.better in ("higher", "lower")
    assert metric.of in (LabelQuestion, ImageQuestion, MarkQuestion, RestorationQuestion)
    assert metric.ends[0] < metric.ends[1]


def test_every_draw_is_between_the_ends_of_the_metric_or_undefined(metric):
    asked = question(metric, 0)
    counts = np.random.default_rng(0).integers(0, 3, size=(50, asked.patients)).astype(float)
    values = metric.over_draws(asked.drawn(counts))
    assert values.shape == (50,)
    assert np.isfinite(values).any()
    low, high = metric.ends
    assert ((values >= low) & (values <= high) | np.isnan(values)).all()


def test_many_draws_at_once_equal_one_after_the_other(metric):
    asked = question(metric, 1)
    counts = np.random.default_rng(1).integers(0, 3, size=(10, asked.patients)).astype(float)
    together = metric.over_draws(asked.drawn(counts))
    alone = [metric.over_draws(asked.drawn(row[None]))[0] for row in counts]
    assert together == pytest.approx(alone, abs=1e-12, nan_ok=True)


def test_counting_every_case_twice_changes_nothing(metric):
    asked = question(metric, 2)
    once, twice = (metric.over_draws(asked.drawn(np.full((1, asked.patients), n)))[0] for n in (1.0, 2.0))
    assert once == pytest.approx(twice, abs=1e-12)


def test_the_order_of_cases_is_irrelevant(metric):
    if issubclass(metric.of, LabelQuestion):
        rng = np.random.default_rng(3)
        truth, scores, order = rng.integers(2, size=30), np.round(rng.random(30), 1), rng.permutation(30)
        assert metric(truth, scores) == pytest.approx(metric(truth[order], scores[order]), abs=1e-12)
    elif metric.of is RestorationQuestion:
        given = pictures(3)
        assert metric(*given) == pytest.approx(metric(*(images[::-1] for images in given)), abs=1e-12)
    else:
        assert metric.value(marks(3)) == metric.value(marks(3, backwards=True))


def test_truth_that_lacks_what_a_metric_rests_on_raises_instead_of_giving_a_number(metric):
    nothing = {
        LabelQuestion: lambda: LabelQuestion.ask([], []),
        ImageQuestion: lambda: LabelQuestion.ask([], []),
        MarkQuestion: no_images,
        RestorationQuestion: lambda: RestorationQuestion.ask([], [], []),
    }
    without = {
        "positives": lambda: labels(4, (0,)),
        "negatives": lambda: labels(4, (1,)),
        "truths": lambda: marks(4, nothing_true=True),
        "matches": lambda: marks(4, nothing_true=True),
        "cases": nothing[metric.of],
    }
    assert metric.rests_on
    for what in metric.rests_on:
        with pytest.raises(UndefinedMetric, match="found none"):
            metric.value(without[what]())


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("kinds", [(0,), (1,), (0, 1)])
def test_a_reason_why_a_number_is_undefined_is_true(label_metric, kinds, called):
    asked = label_question(np.resize(kinds, 12), np.linspace(0, 1, 12), np.full(12, called))
    reason = ""
    try:
        label_metric.value(asked)
    except UndefinedMetric as error:
        reason = str(error)
    lacks = [what for what in label_metric.rests_on if asked.patients_with(what) == 0]
    assert ("found none" in reason) == bool(lacks), reason


def test_right_answers_are_better_than_wrong_ones(label_metric):
    truth = np.resize((0, 0, 1), 30).astype(bool)
    right, wrong = (label_metric.value(label_question(truth, said, said)) for said in (truth, ~truth))
    assert right > wrong if label_metric.better == "higher" else right < wrong


def test_a_metric_that_is_called_symmetric_is_the_same_for_the_other_class(label_metric):
    truth, scores, called = varied()
    if label_metric.symmetric:
        swapped = label_question(~truth, 1 - scores, ~called)
        assert label_metric.value(label_question(truth, scores, called)) == pytest.approx(label_metric.value(swapped))


def test_a_metric_hangs_on_the_decision_exactly_if_it_says_so(label_metric):
    truth, scores, called = varied()
    asked, stricter = label_question(truth, scores, called), label_question(truth, scores, scores > 0.8)
    assert (label_metric.value(asked) != label_metric.value(stricter)) == label_metric.decides


def test_a_metric_is_defined_in_a_sentence(metric):
    assert (metric.over_weights.__doc__ or "").strip().endswith(".")


@pytest.fixture(params=[metric.name for kind in (LabelQuestion, ImageQuestion) for metric in metrics_of(kind)])
def label_metric(request: pytest.FixtureRequest) -> Metric:
    return metrics.get(request.param)


def varied() -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(7)
    truth, scores = rng.permutation(np.resize((False, False, True), 30)), rng.random(30)
    return truth, scores, scores > 0.4


def label_question(truth, scores, called) -> LabelQuestion:
    """Every case is a patient of its own."""
    n = len(truth)
    return LabelQuestion.sorted(
        np.asarray(truth, bool), np.asarray(scores, float), np.asarray(called, bool), np.arange(n), n
    )
