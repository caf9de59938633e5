"""The door through which DATA comes in."""

from pathlib import Path

import pytest
from PIL import Image

from overread.data.sources import open_data
from overread.errors import SourceError, UnknownName


def _class_folders(root: Path) -> None:
    for name in ("x", "y"):
        (root / name).mkdir(parents=True)
        Image.new("L", (2, 2)).save(root / name / "a.png")


def test_what_is_not_there_or_empty_is_said(tmp_path: Path):
    with pytest.raises(SourceError, match="no such file or folder"):
        open_data(tmp_path / "gone")
    with pytest.raises(SourceError, match="the folder is empty"):
        open_data(tmp_path)


def test_an_unknown_layout_says_what_was_found_and_what_was_looked_for(tmp_path: Path):
    (tmp_path / "a.docx").write_text("?")
    with pytest.raises(SourceError, match=r"1 file\(s\) .docx") as raised:
        open_data(tmp_path)
    assert "--source" in str(raised.value)
    assert "medmnist:" in str(raised.value)


def test_a_broken_table_is_the_reason_that_is_shown(tmp_path: Path):
    (tmp_path / "t.csv").write_text("file,label\na,b,c\n")
    with pytest.raises(SourceError, match=r"Nearly fits: .*line 2 has 3 values"):
        open_data(tmp_path)


def test_data_that_fits_two_layouts_must_be_chosen(tmp_path: Path):
    _class_folders(tmp_path)
    (tmp_path / "t.csv").write_text("file,label\nx/a.png,x\ny/a.png,y\n")
    (tmp_path / "t.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(SourceError, match=r"several layouts \(coco, table\)"):
        open_data(tmp_path)
    assert open_data(tmp_path, source="table").source == "table"
    assert open_data(tmp_path, source="folders").source == "folders"


def test_a_wrong_source_name_is_answered_with_the_right_one(tmp_path: Path):
    with pytest.raises(UnknownName, match="Did you mean 'folders'"):
        open_data(tmp_path, source="folder")


def test_a_folder_of_data_sets_is_no_data_set(tmp_path: Path):
    _class_folders(tmp_path / "one")
    _class_folders(tmp_path / "two")
    (tmp_path / "two" / "t.csv").write_text("file,label\nx/a.png,x\ny/a.png,y\n")
    with pytest.raises(SourceError, match="no data set layout"):
        open_data(tmp_path)


def test_class_folders_below_splits_keep_the_split(tmp_path: Path):
    _class_folders(tmp_path / "train")
    _class_folders(tmp_path / "validation")
    manifest = open_data(tmp_path)
    assert manifest.classes == ("x", "y")
    assert [(case.case_id, case.split, case.label) for case in manifest.cases] == [
        ("train_x_a", "train", "x"),
        ("train_y_a", "train", "y"),
        ("validation_x_a", "val", "x"),
        ("validation_y_a", "val", "y"),
    ]


def test_an_image_beside_the_class_folders_is_named(tmp_path: Path):
    _class_folders(tmp_path)
    Image.new("L", (2, 2)).save(tmp_path / "lost.png")
    (problem,) = open_data(tmp_path).found
    assert (problem.name, problem.where) == ("file-without-label", ("lost.png",))


@pytest.mark.parametrize(
    ("name", "advice"),
    [("a.zip", "unpack it and give the folder"), ("a.xlsx", "save it as CSV"), ("a.gz", "unpack")],
)
def test_what_is_packed_or_a_spreadsheet_is_told_how_to_unwrap_it(tmp_path: Path, name: str, advice: str):
    (tmp_path / name).write_bytes(b"?")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(SourceError, match=advice):
            open_data(path)


def test_a_file_beside_folders_of_classes_is_named_as_what_is_in_the_way(tmp_path: Path):
    _class_folders(tmp_path)
    (tmp_path / "measured.csv").write_text("when;what\n1;2\n")
    with pytest.raises(SourceError, match=r"'measured.csv' may say something else .* --source folders"):
        open_data(tmp_path)
    assert open_data(tmp_path, source="folders").classes == ("x", "y")


def test_splits_beside_a_folder_that_is_none_are_not_learned_as_classes(tmp_path: Path):
    for split in ("train", "test"):
        _class_folders(tmp_path / split)
    assert open_data(tmp_path).classes == ("x", "y")
    (tmp_path / "notes").mkdir()
    assert open_data(tmp_path).classes == ("x", "y")
    _class_folders(tmp_path / "unclear")
    for source in (None, "folders"):
        with pytest.raises(SourceError, match=r"'test' is called like a split .* 'unclear' beside it is not"):
            open_data(tmp_path, source=source)
