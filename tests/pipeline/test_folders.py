"""Folders that results are written into."""

from pathlib import Path

import pytest

from overread.errors import OutputExists
from overread.pipeline.folders import fresh_folder


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
