"""What every output format keeps, tested over the catalogue."""

from pathlib import Path

import numpy as np
import pytest

from overread.data.manifest import Case, ImageRef
from overread.export.reading import Reading, exporters
from overread.finding import Finding, Mask, Prediction, Region
from overread.image import Image, Source

IDENTITY = "Doe^Jane"


def readings() -> list[Reading]:
    image = Image(np.arange(96, dtype=np.float32).reshape(1, 8, 12), source=Source(IDENTITY))
    mask = Mask.from_array(np.eye(8, 12, dtype=bool))
    findings = (Finding("Läsion", Region.from_mask(mask), 0.9), Finding("<b>x</b>", Region((1, 1, 3, 4)), 0.2))
    case = Case("c1", "P-1", (ImageRef(Path(f"/data/{IDENTITY}/a.png")),), marks=findings[:1])
    volume = Image(np.zeros((1, 3, 8, 8)))
    return [
        Reading(Prediction("c1", findings, bundle_id="b"), image, case, "one"),
        Reading(Prediction("c2", (), {"a": 0.5, "b": 0.5}, bundle_id="b"), image, None, "two", simulated=True),
        Reading(Prediction("c3", bundle_id="b"), volume, None, "three"),
        Reading(Prediction("../c4", refused="unreadable", bundle_id="b"), None, None, "four"),
    ]


@pytest.mark.parametrize("name", exporters.names())
def test_the_files_that_are_listed_exist_and_no_others(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    paths = exporters.get(name)(readings(), folder)
    assert paths
    assert sorted(paths) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert all(path.parent == folder and path.stat().st_size > 0 for path in paths)


@pytest.mark.parametrize("name", exporters.names())
def test_no_predictions_make_no_error(name: str, tmp_path: Path) -> None:
    for path in exporters.get(name)([], tmp_path):
        assert path.is_file()


@pytest.mark.parametrize("name", exporters.names())
def test_each_reading_alone_can_be_written(name: str, tmp_path: Path) -> None:
    for number, reading in enumerate(readings()):
        exporters.get(name)([reading], tmp_path / str(number))


@pytest.mark.parametrize("name", exporters.names())
def test_equal_readings_make_equal_bytes(name: str, tmp_path: Path) -> None:
    once = exporters.get(name)(readings(), tmp_path / "a")
    again = exporters.get(name)(readings(), tmp_path / "b")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


@pytest.mark.parametrize("name", exporters.names())
def test_the_source_of_an_image_is_not_told(name: str, tmp_path: Path) -> None:
    for path in exporters.get(name)(readings(), tmp_path):
        assert IDENTITY.encode() not in path.read_bytes()
        assert IDENTITY not in path.name


@pytest.mark.parametrize("name", exporters.names())
def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        exporters.get(name)(readings(), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", exporters.names())
def test_a_second_export_replaces_the_first(name: str, tmp_path: Path) -> None:
    first = exporters.get(name)(readings(), tmp_path)
    assert exporters.get(name)(readings(), tmp_path) == first
    assert len(list(tmp_path.iterdir())) == len(first)
