import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.data.section import AugmentationSection, DataSection
from overread.errors import RecipeError, UnknownName
from overread.models.contract import models
from overread.models.section import ModelSection
from overread.preprocessing.section import PreprocessingSection, step_from
from overread.recipe import Recipe, load_recipe, shipped_recipes
from overread.training.section import SearchSection, TrainingSection

SMALL = """
name = "small"

[data]
folds = 3

[[preprocessing.steps]]
step = "resize"
height = 96
width = 96

[[preprocessing.steps]]
step = "min-max"

[model]
family = "cnn"
dropout = 0.5

[training]
clip_norm = "none"
"""


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml(text, where="r.toml")
    return str(caught.value)


share = st.floats(0, 0.5)
recipes = st.builds(
    Recipe,
    name=st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z"),
    seed=st.integers(0, 2**31 - 1),
    data=st.builds(
        DataSection, folds=st.integers(2, 50), scheme=st.sampled_from(["k-fold", "repeated-k-fold", "official"])
    ),
    preprocessing=st.builds(
        PreprocessingSection,
        steps=st.lists(
            st.sampled_from(
                [{"step": "resize", "height": 96, "width": 64}, {"step": "resize", "factor": 2}, {"step": "min-max"}]
            ).map(step_from),
            max_size=3,
        ).map(tuple),
    ),
    augmentation=st.builds(
        AugmentationSection, flip=st.booleans(), shift=share, crop=st.none() | st.integers(32, 512), noise=share
    ),
    model=st.builds(
        ModelSection,
        family=st.text(max_size=20),
        dropout=share,
        anchors=st.lists(st.integers(-5, 5), max_size=3),
        words=st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
    ),
    training=st.builds(
        TrainingSection, clip_norm=st.none() | st.floats(0.1, 9), average=st.none() | st.floats(0.5, 0.9)
    ),
)


@settings(max_examples=40, deadline=None)
@given(recipes, st.booleans())
def test_a_recipe_written_down_reads_back_equal(recipe: Recipe, whole: bool) -> None:
    again = Recipe.from_toml(recipe.to_toml(whole=whole), where="written")
    assert again == recipe
    assert again.digest == recipe.digest


def test_only_differences_are_written_when_asked() -> None:
    text = Recipe.from_toml(SMALL, where="small").to_toml(whole=False)
    assert "folds = 3" in text
    assert 'clip_norm = "none"' in text
    assert "epochs" not in text
    assert "[evaluation]" not in text


def test_the_whole_recipe_shows_every_default() -> None:
    text = Recipe.from_toml(SMALL, where="small").to_toml()
    for section in (DataSection, AugmentationSection, TrainingSection):
        for key in section.model_fields:
            assert f"\n{key} = " in text


@pytest.mark.parametrize("family", models.names())
def test_the_resolved_recipe_shows_every_setting_of_its_family(family: str) -> None:
    recipe = Recipe.from_toml(f'name = "a"\n[model]\nfamily = "{family}"', where="a").resolved()
    for key in models.get(family).Settings.model_fields:
        assert f"\n{key} = " in recipe.to_toml()
    again = Recipe.from_toml(recipe.to_toml(), where="written").resolved()
    assert (again, again.digest) == (recipe, recipe.digest)


def test_every_wrong_key_and_value_is_reported_at_once() -> None:
    said = refusal(
        """
        name = "small"
        [data]
        folds = 1
        [preprocessing]
        steps = [{ step = "min-max" }, { step = "windwo" }, { step = "resize", heigth = 9 }]
        [training]
        epohcs = 3
        keep = "bst"
        [modle]
        """
    )
    assert said.startswith("r.toml: 6 things are wrong")
    assert "data.folds: should be greater than or equal to 2; found 1." in said
    assert "preprocessing.steps.2: No cleaning step is called 'windwo'. Did you mean 'window'?" in said
    assert "preprocessing.steps.3.heigth: no such key. Did you mean 'height'?" in said
    assert "training.epohcs: no such key. Did you mean 'epochs'?" in said
    assert "training.keep: 'bst' is not known. Did you mean 'best'?" in said
    assert "modle: no such key. Did you mean 'model'?" in said


def test_a_key_in_the_wrong_section_is_told_where_it_belongs() -> None:
    assert "epochs: no such key here; it belongs in [pretraining] or [training]." in refusal('name = "a"\nepochs = 3')


@pytest.mark.parametrize(
    "line", ['epochs = "5"', "epochs = true", "epochs = 5.5", "learning_rate = nan", "warmup_epochs = inf"]
)
def test_a_value_is_never_bent_into_another_kind(line: str) -> None:
    assert "training." in refusal(f'name = "a"\n[training]\n{line}')


@pytest.mark.parametrize("line", ["frozen = true", 'dropout = "0.3"', "backbone = 5"])
def test_a_setting_of_the_family_is_not_bent_either(line: str) -> None:
    assert "model." in refusal(f'name = "a"\nseed = "x"\n[model]\n{line}')
    with pytest.raises(RecipeError, match=r"model\."):
        Recipe.from_toml(f'name = "a"\n[model]\n{line}', where="a").resolved()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[augmentation]\nzoom = [3.0, 0.1]", "augmentation.zoom"),
        ("[augmentation]\nzoom = [1.0, 1e9]", "augmentation.zoom"),
        ("[augmentation]\nzoom = [1e-9, 1.0]", "augmentation.zoom"),
        ("[augmentation]\ncrop = 1000000000", "augmentation.crop"),
        ("[training]\nwarmup_epochs = 1e300", "training.warmup_epochs"),
        ("[training]\nclip_norm = 1e300", "training.clip_norm"),
        ("[training]\nclip_norm = inf", "training.clip_norm"),
        ("[training]\nstep_epochs = 1000000000000", "training.step_epochs"),
        ('[[preprocessing.steps]]\nstep = "resize"\nfactor = 1e9', "preprocessing.steps"),
        ('[[preprocessing.steps]]\nstep = "resize"\nfactor = 1e-9', "preprocessing.steps"),
        ('[[preprocessing.steps]]\nstep = "window"\ncentre = 1e300\nwidth = 5', "preprocessing.steps"),
        ('[[preprocessing.steps]]\nstep = "window"\ncentre = 0\nwidth = 1e-300', "preprocessing.steps"),
        ('[[preprocessing.steps]]\nstep = "min-max"\nhigh = 1e300', "preprocessing.steps"),
    ],
)
def test_numbers_that_would_fail_in_the_training_are_refused_before_it(text: str, place: str) -> None:
    assert place in refusal(f'name = "a"\n{text}')


def test_none_may_be_said_of_a_setting_of_the_family_too() -> None:
    assert (
        Recipe.from_toml('name = "a"\n[model]\nloss = "none"', where="a").resolved().model.options.get("loss") is None
    )


def test_none_is_only_a_word_where_a_setting_may_be_absent() -> None:
    assert Recipe.from_toml(SMALL, where="small").training.clip_norm is None
    assert 'training.epochs: should be a whole number; found "none".' in refusal(
        'name = "a"\n[training]\nepochs = "none"'
    )


def test_a_recipe_needs_a_name_that_is_fit_for_a_folder() -> None:
    assert "name: is needed" in refusal("seed = 1")
    assert "name: should be letters" in refusal('name = "../../etc"')


def test_broken_toml_is_refused_with_its_line() -> None:
    assert "line 2" in refusal('name = "a"\nseed = = 3')


def test_the_digest_does_not_depend_on_how_a_recipe_is_typed() -> None:
    short = Recipe.from_toml('name = "a"', where="a")
    long = Recipe.from_toml('name = "a"\n[training]\nepochs = 30\nlearning_rate = 0.001', where="a")
    other = Recipe.from_toml('name = "a"\n[training]\nepochs = 31', where="a")
    assert short.digest == long.digest != other.digest


def test_a_resolved_recipe_holds_the_settings_of_its_family() -> None:
    resolved = Recipe.from_toml(SMALL, where="small").resolved()
    assert resolved.model.options["dropout"] == 0.5
    assert "backbone" in resolved.model.options
    assert Recipe.from_toml(resolved.to_toml(), where="again").resolved() == resolved


def test_wrong_settings_of_a_family_are_refused_with_their_path() -> None:
    recipe = Recipe.from_toml('name = "a"\n[model]\ndropot = 0.1\ndropout = 4', where="a")
    with pytest.raises(RecipeError, match=r"2 things.*(\n.*)*model\.dropot: no such key\. Did you mean 'dropout'"):
        recipe.resolved()
    with pytest.raises(UnknownName, match="Did you mean 'cnn'"):
        Recipe.from_toml('name = "a"\n[model]\nfamily = "cn"', where="a").resolved()


def test_a_recipe_can_be_looked_at_without_torch() -> None:
    code = """
import sys
from overread.recipe import Recipe
Recipe.from_toml("name = 'a'\\npreprocessing.steps = [{ step = 'min-max' }]", where="a")
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_every_shipped_recipe_is_whole_and_named_like_its_file(name: str) -> None:
    recipe = load_recipe(name).resolved()
    assert recipe.name == name


def test_a_wrong_name_is_answered_with_the_nearest_recipe() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'breastmnist-cnn'"):
        load_recipe("breastmnist-cn")


def test_a_recipe_is_found_by_path_before_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('\ufeffname = "mine"', encoding="utf-8")
    assert load_recipe("mine.toml").name == "mine"
    Path("breastmnist-cnn").mkdir()  # a folder of that name, such as a run, is no recipe
    assert load_recipe("breastmnist-cnn").name == "breastmnist-cnn"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'name = "m\xff"')
    with pytest.raises(RecipeError, match="UTF-8"):
        load_recipe(path)


NESTED = 'name = "a"\ndata.scheme = "nested-k-fold"\n[model]\nfamily = "mlp"\n[search]\n'


def searched(space: str) -> Recipe:
    return Recipe.from_toml(f"{NESTED}[search.space]\n{space}", where="r.toml")


def test_a_search_without_its_scheme_is_refused_and_so_is_the_scheme_without_a_search() -> None:
    said = refusal('name = "a"\n[search.space]\n"training.epochs" = [1, 2]')
    assert 'it is for scheme = "nested-k-fold"' in said
    assert "[search.space] names none to choose from" in refusal('name = "a"\n[data]\nscheme = "nested-k-fold"')


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ('"trainin.epochs" = [1, 2]', "'trainin.epochs' is no setting that can be searched.*Did you mean 'training'"),
        ('"data.folds" = [2, 3]', "'data.folds' is no setting that can be searched"),
        ("epochs = [1, 2]", "'epochs' is no setting that can be searched"),
        ('"model.family" = ["mlp", "cnn"]', "'model.family' is not searched: .*overread compare"),
        ('"training.epochs" = [5]', "two or more values, each once; found .5."),
        ('"training.epochs" = [5, 5]', "two or more values, each once"),
        ('"training.epochs" = 5', "'training.epochs' should be a list of values to choose from; found 5"),
    ],
)
def test_what_cannot_be_searched_is_refused_as_the_recipe_is_read(space: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        searched(space)


def test_wrong_names_and_values_of_a_search_are_all_named_before_training() -> None:
    recipe = searched(
        '"training.learning_rat" = [1, 2]\n"training.epochs" = [3, "x", 0]\n"model.hiden" = [[3], [4]]\n'
        '"augmentation.epochs" = [1, 2]'
    )
    with pytest.raises(RecipeError) as caught:
        recipe.resolved()
    said = str(caught.value)
    assert "training.learning_rat: no such key. Did you mean 'learning_rate'" in said
    assert 'training.epochs: should be a whole number; found "x".' in said
    assert "training.epochs: should be greater than or equal to 1; found 0." in said
    assert "augmentation.epochs: no such key here; it belongs in [pretraining] or [training]" in said
    with pytest.raises(RecipeError, match=r"model\.hiden: no such key\. Did you mean 'hidden'"):
        searched('"model.hiden" = [[3], [4]]').resolved()


def test_settings_of_a_search_may_be_typed_without_quotes_and_in_any_order() -> None:
    quoted = searched('"training.epochs" = [1, 2]\n"model.hidden" = [[3], []]')
    plain = searched("model.hidden = [[3], []]\ntraining.epochs = [1, 2]")
    assert quoted == plain
    assert quoted.search.all_settings() == plain.search.all_settings()
    assert Recipe.from_toml(quoted.to_toml(), where="again") == quoted


def test_chosen_settings_replace_those_of_the_recipe_and_no_others() -> None:
    recipe = load_recipe("breastmnist-cnn").resolved()
    same = recipe.with_settings({"training.epochs": recipe.training.epochs})
    assert same == recipe
    other = recipe.with_settings({"training.clip_norm": "none", "model.dropout": 0.25, "training.epochs": 2})
    assert (other.training.clip_norm, other.model.options["dropout"], other.training.epochs) == (None, 0.25, 2)
    assert other.data == recipe.data
    assert other.training.learning_rate == recipe.training.learning_rate


def test_another_set_of_augmentation_takes_the_place_of_the_first_but_not_of_what_was_written_beside_it() -> None:
    text = 'name = "a"\n[augmentation]\nset = "radiograph"\nnoise = 0.5\n'
    recipe = Recipe.from_toml(text, where="r").resolved()
    assert recipe.with_settings({"augmentation.set": "none"}).augmentation == AugmentationSection(noise=0.5)
    turned = recipe.with_settings({"augmentation.shift": 0.0}).augmentation
    assert turned == AugmentationSection(set="radiograph", noise=0.5, shift=0.0)


@given(st.dictionaries(st.sampled_from(["model.a", "model.b", "training.c", "training.d"]), st.integers(2, 4)))
def test_every_value_and_any_two_of_one_section_are_checked_together(sizes: dict[str, int]) -> None:
    section = SearchSection(space={key: list(range(size)) for key, size in sizes.items()})
    pairs = section.pairs()
    for key, size in sizes.items():
        assert {settings[key] for settings in pairs} == set(range(size))
        for other, count in sizes.items():
            if other != key and other.partition(".")[0] == key.partition(".")[0]:
                assert len({(one[key], one[other]) for one in pairs}) == size * count
