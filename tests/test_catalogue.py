import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overread.catalogue import Catalogue, suggestion
from overread.errors import UnknownName

names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True)


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue[object]:
    """A catalogue over a package of two modules, neither of them imported yet."""
    package = tmp_path / "shapes_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from overread.catalogue import Catalogue\nshapes = Catalogue('shape', __name__)\n"
    )
    for name in ("circle", "square"):
        (package / f"{name}.py").write_text(f"from shapes_of_a_test import shapes\nshapes.add('{name}')('a {name}')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import shapes_of_a_test

    yield shapes_of_a_test.shapes
    for module in [module for module in sys.modules if module.startswith("shapes_of_a_test")]:
        del sys.modules[module]


def test_the_folder_is_the_registry(shapes: Catalogue[object]) -> None:
    assert "shapes_of_a_test.circle" not in sys.modules
    assert list(shapes) == shapes.names() == ["circle", "square"]
    assert shapes.get("circle") == "a circle"
    assert "square" in shapes
    assert "sphere" not in shapes


def test_a_wrong_name_is_answered_with_the_nearest_right_one(shapes: Catalogue[object]) -> None:
    with pytest.raises(
        UnknownName, match=r"No shape is called 'circel'. Did you mean 'circle'\? Known: circle, square."
    ):
        shapes.get("circel")


def test_two_parts_cannot_have_one_name(shapes: Catalogue[object]) -> None:
    shapes.add("line")("a line")
    with pytest.raises(ValueError, match="two parts are called 'line' in the catalogue of shapes"):
        shapes.add("line")("another line")


@given(names, st.data())
def test_a_right_name_is_its_own_nearest(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert suggestion(name, known).startswith(f"Did you mean '{name}'?")


def test_an_empty_catalogue_says_so() -> None:
    assert suggestion("anything", []) == "Known: none."
