from pathlib import Path

import pytest

from overread.errors import OutputExists
from overread.pipeline import demo
from overread.pipeline.demonstration import run_demo


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExists, match="no demo"):
        demo(tmp_path)
    with pytest.raises(OutputExists, match="no demo"):
        demo(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_quick_demo_is_not_gone_on_with_as_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "OVERREAD-DEMO").write_text("Made by 'overread demo --quick': simulated images.")
    with pytest.raises(OutputExists, match="do not mix"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["OVERREAD-DEMO"]


def test_a_demo_can_be_made_a_second_time() -> None:
    assert callable(run_demo)
    assert callable(demo)  # a module of the same name would take the place of the function at its first import
