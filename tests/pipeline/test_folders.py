"""Folders that results are written into."""

from pathlib import Path

import pytest

from overread.errors import InputError, OutputExists
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
