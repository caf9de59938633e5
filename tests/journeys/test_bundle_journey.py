"""A bundle that was changed on its way is not used."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def copied(classifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classifier / "bundle", tmp_path / "bundle"))


@pytest.mark.parametrize("name", ["fold-1.safetensors", "bundle.json"])
@pytest.mark.parametrize("command", ["read", "evaluate"])
def test_one_changed_byte_is_noticed_and_the_file_named(
    *, name: str, command: str, overread: Any, copied: Path, phantom: Any, tmp_path: Path
) -> None:
    content = bytearray((copied / name).read_bytes())
    place = content.index(b"tiny-cnn") if name == "bundle.json" else len(content) // 2
    content[place] ^= 1
    (copied / name).write_bytes(content)
    given = phantom.images[0] if command == "read" else phantom.labels
    said = overread(command, copied, given, "--out", tmp_path / "out")
    assert said.code == 1
    assert name in said.err
    assert "Traceback" not in said.err
    assert said.err.startswith("overread: ")
    assert not (tmp_path / "out").exists()
    told = overread(command, copied, given, "--out", tmp_path / "out", "--debug")
    assert told.code == 1
    assert "Traceback" in told.err


def test_a_missing_weights_file_is_named(overread: Any, copied: Path, phantom: Any, tmp_path: Path) -> None:
    (copied / "fold-0.safetensors").unlink()
    said = overread("read", copied, phantom.images[0], "--out", tmp_path / "out")
    assert said.code == 1
    assert "fold-0.safetensors" in said.err


def test_a_folder_that_is_no_run_is_refused(overread: Any, phantom: Any, tmp_path: Path) -> None:
    said = overread("read", phantom.folder, phantom.images[0], "--out", tmp_path / "out")
    assert said.code == 1
    assert "bundle.json" in said.err


def test_a_bundle_names_neither_places_nor_patients(classifier: Path, phantom: Any) -> None:
    for name in ("bundle/bundle.json", "evaluation.json", "run.json"):
        text = (classifier / name).read_text()
        json.loads(text)
        assert str(phantom.folder.parent) not in text
        assert "SIM-00" not in text
