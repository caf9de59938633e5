import json
import os
from pathlib import Path

import pytest

from overread.writing import write_whole


def test_text_is_written_as_utf_8_and_folders_are_made(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "new" / "a.txt", "Läsion\n")
    assert path.read_bytes() == "Läsion\n".encode()


def test_a_file_name_that_is_no_unicode_is_written_so_that_json_gives_it_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xe4d.png")  # as an old archive unpacks it
    path = write_whole(tmp_path / "a.json", json.dumps({"source": name}, ensure_ascii=False))
    assert json.loads(path.read_bytes())["source"] == name


def test_an_older_file_stays_and_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_whole(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_folder_that_is_a_file_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file" / "a.txt", "new")
    assert (tmp_path / "file").read_text() == "x"
