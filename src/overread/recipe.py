"""Recipe: the one configuration object, made of the stages' sections and written in TOML."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from overread.catalogue import suggestion
from overread.data.section import AugmentationSection, DataSection
from overread.errors import RecipeError, UnknownName
from overread.evaluation.section import EvaluationSection
from overread.inference.section import InferenceSection
from overread.models.section import ModelSection
from overread.preprocessing.section import PreprocessingSection
from overread.preprocessing.step import Step, settings_of, steps
from overread.provenance import digest_of
from overread.training.section import PretrainingSection, SearchSection, Settings, TrainingSection, settings_words

__all__ = ["Recipe", "load_recipe", "shipped_recipes"]

ABSENT = "none"
"""How TOML, which has no null, says None: `clip_norm = "none"`."""

RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Recipe(BaseModel):
    """What to do with a data set, completely.

    Args:
        name: what to call it in reports and bundles; letters, digits, ".", "_" and "-" only.
        seed: all randomness is made from it.
        data: how the data set is parted.
        preprocessing: which steps prepare an image.
        augmentation: how training images are varied.
        model: which model family, with its own settings (checked by `resolved`).
        pretraining: what it learns from the images alone, before it learns from their truth.
        training: how the model is fitted.
        search: what is chosen inside each fold, for `scheme = "nested-k-fold"`.
        inference: how the trained model is asked.
        evaluation: how numbers are made.

    >>> Recipe.from_toml('name = "small"', where="example").training.epochs
    30
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: RecipeName
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataSection = DataSection()
    preprocessing: PreprocessingSection = PreprocessingSection()
    augmentation: AugmentationSection = AugmentationSection()
    model: ModelSection = ModelSection()
    pretraining: PretrainingSection = PretrainingSection()
    training: TrainingSection = TrainingSection()
    search: SearchSection = SearchSection()
    inference: InferenceSection = InferenceSection()
    evaluation: EvaluationSection = EvaluationSection()

    @model_validator(mode="after")
    def _searches_where_nested(self) -> Self:
        nested = self.data.scheme == "nested-k-fold"
        if nested and not self.search.space:
            raise ValueError(
                'data.scheme: "nested-k-fold" chooses settings inside each fold, and [search.space] names none to '
                'choose from. Name some, such as "training.learning_rate" = [1e-3, 3e-4], or use "k-fold".'
            )
        if not nested and self.search != SearchSection():
            raise ValueError(
                'search: it is for scheme = "nested-k-fold", which keeps what is measured out of the choice; here it '
                f'is "{self.data.scheme}". Set the scheme, or leave [search] out.'
            )
        return self

    @classmethod
    def from_toml(cls, text: str, *, where: str) -> Self:
        """Read a recipe.

        Args:
            text: TOML.
            where: what to call the text in messages, such as its file name.

        Raises:
            RecipeError: with every wrong key and value at once, one a line.
        """
        if not text.strip():
            raise RecipeError(f"{where} is empty. Write a recipe into it: overread recipe new DATA > {where}")
        try:
            values = tomllib.loads(text, parse_float=_finite)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{where} is not TOML: {error}.") from error
        # By way of JSON, because only there can pydantic be strict (no "5" for 5) and still take lists for tuples.
        try:
            return cls.model_validate_json(json.dumps(_with_none(values), default=str), strict=True)
        except ValidationError as error:
            raise _refusal(where, [(error, cls, ()), *_wrong_in_model(values)], values=values) from error

    def to_toml(self, *, whole: bool = True) -> str:
        """The recipe as TOML that reads back to an equal recipe.

        Args:
            whole: with every setting; otherwise only what differs from the defaults.
        """
        values = self._values(whole=whole)
        tables = {key: value for key, value in values.items() if not isinstance(value, dict) or value}
        return tomli_w.dumps(_without_none(tables))

    def with_training(self, **changed: Any) -> Self:
        """The same recipe with other values in `[training]`."""
        return self.model_copy(update={"training": self.training.model_copy(update=changed)})

    def resolved(self) -> Self:
        """The same recipe with the model family's own settings checked and filled in; this imports torch.

        Raises:
            UnknownName: where there is no such family.
            RecipeError: with all that is wrong in `[model]`, or in the values of `[search.space]`.
        """
        resolved = self._with_family()
        wrong: dict[str, None] = {}  # in order, each once
        for settings in self.search.pairs():
            try:
                resolved.with_settings(settings)
            except RecipeError as error:
                wrong |= dict.fromkeys(str(error).splitlines()[1:])
        if wrong:
            raise RecipeError("\n".join([f"Recipe '{self.name}': a value in [search.space] cannot be.", *wrong]))
        return resolved

    def with_settings(self, settings: Settings) -> Self:
        """The same recipe with other values of single settings, as a search chooses them; this imports torch.

        Raises:
            RecipeError: with all that is wrong in these.
        """
        tables: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            section, _, name = key.partition(".")
            tables.setdefault(section, self._written(section))[name] = value
        where, values = f"Recipe '{self.name}' with {settings_words(settings)}", {"name": self.name, **tables}
        try:
            read = type(self).model_validate_json(json.dumps(_with_none(values), default=str), strict=True)
        except ValidationError as error:
            raise _refusal(where, [(error, type(self), ()), *_wrong_in_model(values)], values=values) from error
        return self.model_copy(update={section: getattr(read, section) for section in tables})._with_family()

    def _written(self, section: str) -> dict[str, Any]:
        """The settings of a section; of augmentation without those that its named set says."""
        values: dict[str, Any] = getattr(self, section).model_dump(mode="json")
        if section != "augmentation":
            return values
        named = AugmentationSection(set=self.augmentation.set).model_dump(mode="json")
        return {key: value for key, value in values.items() if key == "set" or value != named[key]}

    def _with_family(self) -> Self:
        from overread.models.contract import models

        kind: type[BaseModel] = models.get(self.model.family).Settings
        try:
            settings = _family_settings(kind, self.model.options)
        except ValidationError as error:
            raise _refusal(f"Recipe '{self.name}'", [(error, kind, ("model",))]) from error
        told = ModelSection(family=self.model.family, **settings.model_dump(mode="json"))
        return self.model_copy(update={"model": told})

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all settings, written or not: the same recipe has the same digest, however it is typed."""
        return digest_of(self._values(whole=True))

    def _values(self, *, whole: bool) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude={"preprocessing"}, exclude_defaults=not whole)
        values["model"] = {"family": self.model.family, **values.get("model", {})}
        prepared = [_step_values(step, whole=whole) for step in self.preprocessing.steps]
        values["preprocessing"] = {"steps": prepared} if prepared or whole else {}
        order = list(type(self).model_fields)
        return {key: values[key] for key in order if key in values}


def load_recipe(recipe: str | Path) -> Recipe:
    """A recipe from its file, or one that comes with Overread from its name.

    Raises:
        RecipeError: where there is neither, or with all that is wrong in it.
    """
    path = Path(recipe)
    if not path.is_file():
        known = shipped_recipes()
        if str(recipe) not in known:
            raise RecipeError(
                f"'{recipe}' is neither the file of a recipe nor the name of one that comes with Overread. "
                f"{suggestion(str(recipe), list(known))}"
            )
        path = known[str(recipe)]
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not a text in UTF-8, as TOML must be; save it again as UTF-8.") from error
    return Recipe.from_toml(text, where=str(path))


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with Overread."""
    package = Path(__file__).parent
    # A wheel holds them inside the package; a checkout, also an editable one, at its top.
    folders = (package / "recipes", package.parents[1] / "recipes")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _finite(number: str) -> float | str:
    """A number; the words nan and inf stay words, which no setting takes for a number."""
    return float(number) if math.isfinite(float(number)) else number


def _step_values(step: Step, *, whole: bool) -> dict[str, Any]:
    changed = settings_of(step)
    if not whole:
        return changed
    unlearned = {key for key, field in type(step).model_fields.items() if field.default is None}
    values = step.model_dump(mode="json")
    told = {key: value for key, value in values.items() if value is not None or key not in unlearned}
    return {"step": changed["step"], **told}


def _without_none(value: Any) -> Any:
    """The same values with the word "none" for None."""
    if isinstance(value, Mapping):
        return {key: _without_none(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value]
    return ABSENT if value is None else value


def _with_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with None for the word "none", where a setting may be absent."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        section = _section(key)
        found[key] = _section_with_none(section, value) if section and isinstance(value, Mapping) else value
    listed = found.get("preprocessing", {})
    if isinstance(listed, dict) and isinstance(listed.get("steps"), list):
        listed["steps"] = [_section_with_none(_kind(step), step) for step in listed["steps"]]
    return found


def _section_with_none(section: type[BaseModel] | None, table: Any) -> Any:
    if section is None or not isinstance(table, Mapping):
        return table
    absent = {key for key, field in section.model_fields.items() if type(None) in get_args(field.annotation)}
    return {key: None if value == ABSENT and key in absent else value for key, value in table.items()}


def _family_settings(kind: type[BaseModel], options: Mapping[str, Any]) -> BaseModel:
    """A family's own settings, as strictly as those of the other sections."""
    return kind.model_validate_json(json.dumps(_section_with_none(kind, options), default=str), strict=True)


def _section(name: str) -> type[BaseModel] | None:
    field = Recipe.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _kind(settings: Any) -> type[Step] | None:
    """The class of a step's table; None where its name is wrong (which is reported elsewhere)."""
    try:
        return steps.get(str(settings["step"]))
    except (KeyError, TypeError, UnknownName):
        return None


# ---- saying what is wrong ------------------------------------------------------------------------------------


Wrong = tuple[ValidationError, type[BaseModel], Sequence[str]]
"""What pydantic found, the model that it was found in, and the path of that model."""


def _refusal(where: str, wrong: Sequence[Wrong], *, values: Mapping[str, Any] | None = None) -> RecipeError:
    """One error for all that is wrong.

    Args:
        where: what to call the recipe.
        wrong: what was found.
        values: the whole recipe as written, which names the steps.
    """
    lines: dict[str, None] = {}  # in order, each once: the branches of a union may say the same
    for error, holder, at in wrong:
        for detail in error.errors(include_url=False):
            path, section = _place(detail, holder, values or {})
            lines[f"  {'.'.join((*at, *path)) or 'recipe'}: {_sentence(detail, section)}"] = None
    things = "one thing is" if len(lines) == 1 else f"{len(lines)} things are"
    return RecipeError("\n".join([f"{where}: {things} wrong in this recipe.", *lines]))


def _wrong_in_model(values: Mapping[str, Any]) -> list[Wrong]:
    """What the family finds wrong in `[model]`, so that it is told with the rest; this imports torch."""
    from overread.models.contract import models

    table = values.get("model", {})
    if not isinstance(table, Mapping) or str(table.get("family", "cnn")) not in models:
        return []
    kind: type[BaseModel] = models.get(str(table.get("family", "cnn"))).Settings
    try:
        _family_settings(kind, {key: value for key, value in table.items() if key != "family"})
    except ValidationError as error:
        return [(error, kind, ("model",))]
    return []


def _place(
    detail: ErrorDetails, holder: type[BaseModel], values: Mapping[str, Any]
) -> tuple[list[str], type[BaseModel]]:
    """The path of an error as a person counts (the first step is 1), and the section that the key stands in."""
    path: list[str] = []
    for part in detail["loc"]:
        field = holder.model_fields.get(str(part))
        if isinstance(part, int):
            path.append(str(part + 1))
            if path[:-1] == ["preprocessing", "steps"]:
                holder = _kind(values["preprocessing"]["steps"][part]) or holder
        elif field is not None or detail["type"] == "extra_forbidden":
            path.append(part)  # anything else is the name of a branch of a union, which says nothing to a person
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            holder = field.annotation
    return path, holder


def _sentence(detail: ErrorDetails, holder: type[BaseModel]) -> str:
    """What was expected and what was found."""
    found, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(detail["loc"][-1]), holder)
        case "missing":
            return "is needed and not there."
        case "literal_error":
            known = re.findall("'([^']*)'", context["expected"])
            return f"{found!r} is not known. {suggestion(str(found), known)}"
        case "string_pattern_mismatch":
            expected = "should be letters, digits, '.', '_' and '-', 64 at most"
        case "value_error":
            return str(context["error"])
        case _:
            expected = detail["msg"].replace("Input should", "should")
            for theirs, ours in _WORDS.items():
                expected = expected.replace(theirs, ours)
    return f"{expected}; found {json.dumps(found, default=str)}."


_WORDS = {
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "a valid string": "a text",
    " valid ": " ",
}


def _unknown_key(key: str, holder: type[BaseModel]) -> str:
    homes = [name for name in Recipe.model_fields if (section := _section(name)) and key in section.model_fields]
    if homes and not issubclass(holder, Step):
        return f"no such key here; it belongs in {' or '.join(f'[{home}]' for home in homes)}."
    return f"no such key. {suggestion(key, list(holder.model_fields))}"
