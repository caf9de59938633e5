"""Folders that results are written into."""

import contextlib
from pathlib import Path

import pytest

from overread.errors import InputError, ManifestError, OutputExists
from overread.pipeline.folders import fresh_folder, run_folder


def write(folder: Path, word: str, *, before: str | None = None) -> None:
    """Write a result; another process writes `before` meanwhile, where there is one."""
    with fresh_folder(folder) as inside:
        (inside / "report.html").write_text(word)
        if before is not None:
            write(folder, before)


def test_the_slower_of_two_that_write_into_one_folder_is_refused_and_leaves_the_other_alone(tmp_path: Path) -> None:
    with pytest.raises(OutputExists, match="Another process"):
        write(tmp_path / "out", "slow", before="quick")
    assert (tmp_path / "out" / "report.html").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_lock_that_is_a_link_is_refused_and_what_it_points_to_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious.txt")
    with pytest.raises(InputError, match="is a link"), run_folder(tmp_path / "run", recipe="r", data="d"):
        pass
    assert (tmp_path / "precious.txt").read_text() == "years of work"


def test_a_run_is_gone_on_with_by_one_process_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            run_folder(tmp_path / "run", recipe="r", data="d") as folder,
            pytest.raises(InputError, match="Another process"),
            run_folder(folder, recipe="r", data="d"),
        ):
            pass


def refuse(folder: Path, *, learned: bool = False) -> None:
    """A training that is refused, before or after something was learned."""
    with contextlib.suppress(ManifestError), run_folder(folder, recipe="r", data="d", planned=True) as inside:
        if not (inside / "recipe.toml").exists():
            (inside / "recipe.toml").write_text("planned")
        if learned:
            (inside / "folds").mkdir()
        raise ManifestError("errors")


def test_a_run_that_was_refused_before_it_learned_leaves_its_folder_as_it_was(tmp_path: Path) -> None:
    refuse(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "recipe.toml").write_text("written by hand")
    refuse(tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["recipe.toml"]
    assert (tmp_path / "own" / "recipe.toml").read_text() == "written by hand"


def test_a_run_that_was_refused_after_it_learned_keeps_all_it_has(tmp_path: Path) -> None:
    refuse(tmp_path / "run", learned=True)
    kept = {".lock", "folds", "recipe.toml", "run.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == kept
    refuse(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == kept
