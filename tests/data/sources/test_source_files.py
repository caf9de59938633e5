"""Which files are images, which are ignored, and what cases are called."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from overread.data.sources import open_data
from overread.data.sources.files import case_ids, integer_pixels, is_ignored, split_named_in, walk
from overread.data.sources.headers import is_turned, size_px
from overread.errors import InputError, SourceError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.sampled_from("aAbä/ ._\\:*-1"), min_size=1, max_size=12), unique=True, max_size=8))
def test_case_ids_are_unique_and_fit_for_file_names_even_where_case_does_not_count(names):
    ids = list(case_ids(names).values())
    assert len({case_id.lower() for case_id in ids}) == len(names)
    for case_id in ids:
        assert case_id
        assert not set(case_id) & set('/\\:*?"<>| ')
        assert not case_id.startswith(".")


def test_a_very_long_name_gives_an_id_that_still_fits():
    assert len(case_ids(["x" * 400])["x" * 400]) <= 120


def test_names_that_are_no_unicode_get_ids_of_their_own_too():
    names = [os.fsdecode(b"b\xe4d.png"), os.fsdecode(b"b\xf6d.png"), os.fsdecode(b"\xe4" * 200)]
    ids = list(case_ids(names).values())
    assert len(set(ids)) == 3
    assert all(case_id.encode() for case_id in ids)


def test_a_folder_that_cannot_be_looked_into_is_refused_and_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(InputError, match=r"'.*locked': .*Permission denied"):
        list(walk(tmp_path))


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "README.txt", "LICENSE", "license.md", "__MACOSX", ".git"])
def test_files_of_the_system_and_notes_to_people_are_ignored(name):
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["readmeter.png", "a.png", "licensed.csv"])
def test_data_with_a_similar_name_is_not_ignored(name):
    assert not is_ignored(name)


def test_a_split_is_read_from_the_name_of_a_file_only_where_it_is_one():
    assert split_named_in("instances_train2017") == "train"
    assert split_named_in("valid") == "val"
    assert split_named_in("train_and_test") is None
    assert split_named_in("contest") is None


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(walk(tmp_path)) == [tmp_path / "a.png"]


def test_a_pipe_in_a_data_set_is_named_as_left_out_and_not_waited_for(tmp_path: Path):
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (3, 3)).save(tmp_path / name)
    for name in ("a/pipe", "b/pipe.png", "b/pipe.dcm"):
        os.mkfifo(tmp_path / name)
    manifest = open_data(tmp_path)
    assert len(manifest.cases) == 4
    (problem,) = manifest.found
    assert (problem.name, set(problem.where)) == ("unknown-file", {"a/pipe", "b/pipe.png", "b/pipe.dcm"})
    assert size_px(tmp_path / "b" / "pipe.png") is None
    assert not is_turned(tmp_path / "b" / "pipe.png")


@pytest.mark.parametrize("name", ["x.json", "labels.csv", "annotations/x.json", "Annotations/x.xml"])
def test_a_pipe_that_is_called_like_a_truth_is_not_waited_for(tmp_path: Path, name: str):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="no data set layout"):
        open_data(tmp_path)


def test_label_maps_of_all_integer_kinds_keep_their_numbers(tmp_path: Path):
    numbers = np.array([[0, 1], [2, 200]])
    for dtype in (np.uint8, np.uint16):
        Image.fromarray(numbers.astype(dtype)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(integer_pixels(tmp_path / "a.png"), numbers)
    for dtype in (np.uint8, np.uint16, np.int32, np.uint32, np.float32):
        tifffile.imwrite(tmp_path / "a.tif", numbers.astype(dtype))
        np.testing.assert_array_equal(integer_pixels(tmp_path / "a.tif"), numbers)
    palette = Image.new("P", (2, 2))
    palette.putpalette([0, 0, 0, 255, 0, 0] + [9] * 762)
    palette.putdata([0, 1, 2, 200])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(integer_pixels(tmp_path / "p.png"), numbers)


def test_a_label_map_in_colours_or_fractions_or_damaged_is_refused(tmp_path: Path):
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)).save(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "half.tif", np.array([[0.5, 1]], np.float32))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    for name in ("rgb.png", "half.tif", "broken.png"):
        with pytest.raises(SourceError, match=name):
            integer_pixels(tmp_path / name)


def test_a_label_map_that_announces_too_much_or_is_cut_short_is_refused_before_it_is_decoded(tmp_path: Path):
    tifffile.imwrite(tmp_path / "giant.tif", np.zeros((4, 5), np.uint8), metadata=None)
    with tifffile.TiffFile(tmp_path / "giant.tif", mode="r+b") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[tag].overwrite(60_000)
    whole = tmp_path / "cut.tif"
    tifffile.imwrite(whole, np.zeros((400, 500), np.uint8))
    whole.write_bytes(whole.read_bytes()[:1000])
    for name, said in (("giant.tif", "3,600,000,000"), ("cut.tif", "cut short")):
        with pytest.raises(SourceError, match=f"{name}.*{said}"):
            integer_pixels(tmp_path / name)


def test_the_size_of_an_image_is_read_from_its_header(tmp_path: Path):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), np.float32))
    (tmp_path / "broken.png").write_bytes(b"x")
    assert size_px(tmp_path / "a.png") == (20, 30)
    assert size_px(tmp_path / "a.tif") == (20, 30)
    assert size_px(tmp_path / "broken.png") is None


def test_a_dicom_header_with_a_word_as_its_size_gives_no_size(tmp_path: Path):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows = dataset.Columns = 32
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    content = (tmp_path / "a.dcm").read_bytes()
    assert size_px(tmp_path / "a.dcm") == (32, 32)
    (tmp_path / "a.dcm").write_bytes(content.replace(b"US\x02\x00\x20\x00", b"LO\x02\x00ab"))
    assert size_px(tmp_path / "a.dcm") is None


def test_a_picture_that_asks_to_be_turned_is_noticed(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("L", (30, 20)).save(tmp_path / "upright.jpg")
    assert is_turned(tmp_path / "turned.jpg")
    assert not is_turned(tmp_path / "upright.jpg")
