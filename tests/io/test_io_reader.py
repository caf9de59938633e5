"""A file finds its reader by content, and what is no image is refused in words."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from overread.errors import UnreadableImage
from overread.io import is_image, read, readers


def picture(path: Path) -> Path:
    Pillow.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(path, format="png")
    return path


def test_content_and_not_the_name_says_what_a_file_is(tmp_path: Path) -> None:
    path = picture(tmp_path / "actually_a_png.dcm")
    assert is_image(path)
    assert read(path).shape == (6, 8)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty"), (b"patient,label\n1,2\n", "text"), (b"\x00\x01\x02" * 99, "no kind")]
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    assert not is_image(path)
    with pytest.raises(UnreadableImage, match=f"scan.png.*{said}"):
        read(path)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="no such file"):
        read(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage, match="folder"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableImage, match="regular"):
        read(tmp_path / "pipe")
    assert not any(is_image(tmp_path / name) for name in ("gone.png", ".", "pipe"))


def test_a_message_names_the_file_and_never_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage) as caught:
        read(tmp_path / "gone.png")
    assert str(tmp_path) not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_refused_or_read_but_never_a_surprise(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    folder = tmp_path_factory.mktemp("damage")
    kind = data.draw(st.sampled_from(["png", "jpeg", "tiff", "npz"]))
    path = folder / "image"
    if kind == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, a=np.arange(48, dtype=np.uint8).reshape(6, 8))
    else:
        Pillow.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(path, format=kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(UnreadableImage):
        assert np.isfinite(read(path).pixels).all()


def test_the_readers_are_in_their_catalogue() -> None:
    assert {"dicom", "jpeg", "npz", "png", "tiff"} <= set(readers)


def test_importing_the_readers_imports_no_decoder_and_no_torch() -> None:
    code = (
        "import sys; from overread.io import readers; list(readers); "
        "print(sorted({'torch', 'pydicom', 'tifffile', 'imagecodecs', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
