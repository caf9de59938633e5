"""Which settings are tried, in which order, and what is kept of them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from overread.data.fold import Fold
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages
from overread.errors import InputError, NotInstalled, OutputExists
from overread.models.contract import Shape
from overread.pipeline.assembly import build_model
from overread.pipeline.searching import (
    Proposals,
    Search,
    Trial,
    _all,
    _kept,
    _proposed,
    check_search,
    choosing_of,
    trainings_left,
)
from overread.provenance import digest_of
from overread.recipe import Recipe
from overread.training.computing import Computing
from overread.training.crossval import Plan
from overread.training.loop import fabric_for
from overread.training.section import SearchSection, Settings

SPACE = SearchSection(
    trials=9, space={"model.hidden": [[8, 4], [6], [], [3]], "training.epochs": [1, 2, 3], "training.patience": [4, 5]}
)
LABELS = Manifest(
    "set", "test", "single-label", ("no", "yes"), (Case("a", "p", (ImageRef(Path("a")),), labels={"no": True}),)
)


def worth(settings: Settings) -> float | None:
    return None if settings["model.hidden"] == [3] else len(settings["model.hidden"]) / settings["training.epochs"]


def sent(proposals: Proposals, of: Callable[[Settings], float | None]) -> list[Settings]:
    found = [next(proposals)]
    while True:
        try:
            found.append(proposals.send(of(found[-1])))
        except StopIteration:
            return found


def tried(seed: int, of: Callable[[Settings], float | None] = worth) -> list[Settings]:
    return sent(_proposed(SPACE, seed=seed), of)


def test_settings_are_proposed_each_once_and_the_same_for_the_same_seed_and_scores() -> None:
    first = tried(1)
    assert len({digest_of(settings) for settings in first}) == len(first) == 9
    assert first == tried(1)
    assert first != tried(2)
    assert first != tried(1, lambda settings: -(worth(settings) or 0))  # what comes later depends on the scores
    assert all(settings["model.hidden"] in SPACE.space["model.hidden"] for settings in first)


def test_all_settings_are_tried_once_where_there_are_no_more_than_trials() -> None:
    small = SearchSection(trials=6, space={"training.epochs": [1, 2, 3], "training.patience": [4, 5]})
    assert small.tries_all
    assert not SPACE.tries_all
    found = sent(_all(small), lambda _: 0.5)
    assert [tuple(settings.values()) for settings in found] == [(1, 4), (1, 5), (2, 4), (2, 5), (3, 4), (3, 5)]


def test_the_highest_mean_of_the_inner_scores_is_chosen_and_of_equal_ones_the_first() -> None:
    trials = [
        Trial({"training.epochs": 1}, (0.9, None), 1.0, failed=True),
        Trial({"training.epochs": 2}, (0.6, 0.8), 1.0),
        Trial({"training.epochs": 3}, (0.7, None, 0.7), 1.0),
        Trial({"training.epochs": 4}, (None, None), 1.0),
    ]
    chosen = Search(tuple(trials)).chosen
    assert chosen.settings == {"training.epochs": 2}
    assert chosen.score == pytest.approx(0.7)
    assert (chosen.n_trials, chosen.n_failed) == (4, 1)
    assert Search((Trial({"training.epochs": 5}, (-0.4,), 1.0), trials[3])).chosen.settings == {"training.epochs": 5}


@pytest.mark.parametrize("change", [{"score": 0.7}, {"settings": {"training.epochs": 3}}, "{", "[1]", "{}"])
def test_a_kept_score_that_is_not_what_was_written_is_refused_and_never_taken_for_one(
    change: dict[str, object] | str, tmp_path: Path
) -> None:
    fold = Fold(0, ("a", "b"), (), ("c",))
    told = {"fold": fold.digest, "settings": {"training.epochs": 2}, "score": 0.6, "seconds": 1.0, "failed": False}
    file = tmp_path / "inner-0.json"
    file.write_text(json.dumps(told | {"sha256": digest_of(told)}))
    assert _kept(file, {"training.epochs": 2}, fold) == told
    with pytest.raises(InputError, match=r"inner-0\.json' is not what was written"):
        _kept(file, {"training.epochs": 4}, fold)
    file.write_text(change if isinstance(change, str) else json.dumps(told | {"sha256": digest_of(told)} | change))
    with pytest.raises(InputError, match=r"inner-0\.json' is not what was written.*Delete it"):
        _kept(file, {"training.epochs": 2}, fold)


def test_a_kept_score_of_other_inner_parts_is_refused(tmp_path: Path) -> None:
    fold, settings = Fold(0, ("a", "b"), (), ("c",)), {"training.epochs": 2}
    file = tmp_path / "inner-0.json"
    for kept in ({"fold": fold.digest}, {}):  # others did not say of which parts they are
        told = {"settings": settings, "score": 0.6, "seconds": 1.0, "failed": False} | kept
        file.write_text(json.dumps(told | {"sha256": digest_of(told)}))
        with pytest.raises(OutputExists, match=r"inner-0\.json' rests on other cases"):
            _kept(file, settings, Fold(0, ("a", "c"), (), ("b",)))


def test_trainings_that_are_still_to_be_done_are_counted(tmp_path: Path) -> None:
    text = 'data.scheme = "nested-k-fold"\n[model]\nfamily = "mlp"\n[training]\nbatch_size = 16\n[search.space]\n'
    recipe = Recipe.from_toml(f'name = "a"\n{text}training.batch_size = [4, 64, 32]', where="a")
    first, second = Fold(0, ("a",), (), ("b",)), Fold(1, ("b",), (), ("a",))
    inner = {0: [first, second], 1: [first]}
    assert trainings_left(recipe, inner, tmp_path) == [first] * 3 + [second] * 3 + [first] * 3
    (tmp_path / "fold-0" / "abc").mkdir(parents=True)
    (tmp_path / "fold-0" / "abc" / "inner-1.json").write_text("{}")
    assert trainings_left(recipe, inner, tmp_path) == [first] * 3 + [second] * 2 + [first] * 3
    assert trainings_left(recipe, {}, tmp_path) == []


def test_a_plan_is_varied_in_all_that_is_searched_and_computes_as_it_did(tmp_path: Path) -> None:
    text = 'data.scheme = "nested-k-fold"\nmodel.family = "cnn"\nmodel.weights = "none"\ntraining.epochs = 3\n'
    text += '[search.space]\n"model.backbone" = ["tf_efficientnet_lite0", "test_efficientnet"]\n'
    text += '"pretraining.epochs" = [0, 4]\n"training.batch_size" = [2, 4]\n'
    recipe = Recipe.from_toml(f'name = "a"\n{text}"augmentation.crop" = [32, 64]', where="a").resolved()
    shape = Shape("single-label", ("no", "yes"), 1)
    computing = Computing(device="cpu", precision="bf16", memory_format="channels_last")
    plan = Plan(
        manifest=LABELS,
        images=PreparedImages(tmp_path),
        steps=(),
        build=lambda: build_model(recipe, shape),
        axes=2,
        augmentation=recipe.augmentation,
        pretraining=recipe.pretraining,
        training=computing.put_into(recipe.training),
        seed=1,
        fabric=fabric_for("cpu", "bf16"),
        judge=lambda *_: None,
    )
    chosen = {"model.backbone": "test_efficientnet", "pretraining.epochs": 4, "training.batch_size": 2}
    choosing = choosing_of(recipe, shape, {0: [Fold(0, ("a",), (), ("b",))]}, tmp_path)
    own = choosing.vary(plan, chosen | {"augmentation.crop": 64})
    assert (own.pretraining.epochs, own.augmentation.crop) == (4, 64)
    assert own.training == computing.put_into(recipe.training).model_copy(update={"batch_size": 2})
    assert sum(weight.numel() for weight in own.build().parameters()) < 1e6
    assert len(choosing.folds) == 8
    assert choosing.vary(plan, {}).training == plan.training


def test_what_proposes_settings_is_asked_for_by_name_where_it_is_absent_and_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def recipe(trials: int) -> Recipe:
        text = f'data.scheme = "nested-k-fold"\n[model]\nfamily = "mlp"\n[search]\ntrials = {trials}\n'
        return Recipe.from_toml(f'name = "a"\n{text}space = {{ training.epochs = [1, 2, 3] }}', where="a").resolved()

    check_search(recipe(2), LABELS)
    monkeypatch.setitem(sys.modules, "optuna", None)
    check_search(recipe(3), LABELS)
    with pytest.raises(NotInstalled, match=r"Install it .pip install optuna., or raise search.trials"):
        check_search(recipe(2), LABELS)
