"""Tables as people write them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from overread.data.manifest import Manifest
from overread.data.sources import open_data
from overread.errors import SourceError


def _images(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), number, np.uint8)).save(folder / name)


def _read(folder: Path, text: str, *, encoding: str = "utf-8") -> Manifest:
    (folder / "table.csv").write_bytes(text.encode(encoding))
    return open_data(folder)


def _problem(manifest: Manifest, name: str) -> tuple[str, ...]:
    return next((problem.where for problem in manifest.found if problem.name == name), ())


def test_the_columns_that_have_a_meaning_are_known_however_they_are_written(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png"])
    manifest = _read(
        tmp_path,
        "Patient ID,Image File,SITE,Split,Age,Sex,Finding\n"
        "007,a.png,Bern,train,54,F,cyst\n007,b.png,Bern,Valid,54,F,none\n8,c.png,,test,,M,cyst\n",
    )
    a, b, c = manifest.cases
    assert [case.patient_id for case in manifest.cases] == ["007", "007", "8"]
    assert [case.split for case in manifest.cases] == ["train", "val", "test"]
    assert (a.site, c.site) == ("Bern", None)
    assert a.attributes == {"Age": 54.0, "Sex": "F"}
    assert c.attributes["Age"] is None
    assert manifest.classes == ("cyst", "none")
    assert (a.label, b.label) == ("cyst", "none")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_delimiters_and_encodings_of_spreadsheets_are_read(tmp_path: Path, delimiter: str, encoding: str):
    _images(tmp_path, ["Müller 1.png", "b.png"])
    rows = [["Datei", "Größe", "attribute_note"], ["Müller 1.png", "groß", "über, oder; so"], ["b.png", "klein", ""]]
    text = "\r\n".join(delimiter.join(f'"{value}"' for value in row) for row in rows)
    manifest = _read(tmp_path, text, encoding=encoding)
    assert manifest.classes == ("groß", "klein")
    assert [case.case_id for case in manifest.cases] == ["Müller_1", "b"]
    assert manifest.cases[0].attributes["attribute_note"] == "über, oder; so"


def test_images_are_found_in_images_without_extension_and_in_decomposed_unicode(tmp_path: Path):
    _images(tmp_path / "images", ["u\u0308.png", "deep/b.tif"])
    manifest = _read(tmp_path, "id,label\nü,x\ndeep\\b,y\n")
    assert len(manifest.cases) == 2
    assert not manifest.found


def test_a_table_may_be_the_data_itself_and_be_parquet(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png"])
    table = pd.DataFrame({"file": ["a.png", "b.png", "c.png"], "grade": [1.0, 2.0, None], "flag": [True, False, None]})
    table[["file", "grade"]].to_parquet(tmp_path / "t.parquet")
    manifest = open_data(tmp_path / "t.parquet")
    assert manifest.classes == ("1", "2")
    assert _problem(manifest, "unknown-label") == ("c",)
    table[["file", "flag"]].to_parquet(tmp_path / "t.parquet")
    manifest = open_data(tmp_path / "t.parquet")
    assert manifest.classes == ("not flag", "flag")
    assert [dict(case.labels) for case in manifest.cases] == [
        {"not flag": False, "flag": True},
        {"not flag": True, "flag": False},
        {"not flag": None, "flag": None},
    ]


def test_several_columns_of_zero_and_one_are_several_labels_and_empty_is_not_known(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png"])
    manifest = _read(tmp_path, "file,edema,nodule\na.png,1,no\nb.png,,TRUE\n")
    assert manifest.task == "multi-label"
    assert [dict(case.labels) for case in manifest.cases] == [
        {"edema": True, "nodule": False},
        {"edema": None, "nodule": True},
    ]
    assert _problem(manifest, "unknown-label") == ("b",)


@pytest.mark.parametrize("word", ["NA", "nan", "NULL", "?", "."])
def test_what_programs_and_people_write_for_nothing_is_no_class(tmp_path: Path, word: str):
    _images(tmp_path, ["a.png", "b.png", "c.png"])
    manifest = _read(tmp_path, f"file,label\na.png,none\nb.png,cyst\nc.png,{word}\n")
    assert manifest.classes == ("cyst", "none")
    assert _problem(manifest, "unknown-label") == ("c",)


def test_words_among_several_label_columns_are_refused_with_the_column_and_its_values(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png"])
    with pytest.raises(SourceError, match=r"'nodule' says 'maybe', 'yes'"):
        _read(tmp_path, "file,edema,nodule\na.png,1,maybe\nb.png,0,yes\n")


def test_a_long_list_of_words_is_counted_and_not_quoted_for_it_may_be_names(tmp_path: Path):
    names = [f"{number}.png" for number in range(12)]
    _images(tmp_path, names)
    rows = [f"{name},Doe Jane {n // 2},{'x' if n % 2 else 'y'}" for n, name in enumerate(names)]
    with pytest.raises(SourceError, match=r"'Person' says 6 different words") as refused:
        _read(tmp_path, "\n".join(["file,Person,finding", *rows]))
    assert "Jane" not in str(refused.value)


@pytest.mark.parametrize("name", ["Pat.-Nr.", "PatientName", "Patientennummer", "MRN", "Patient No", "Participant ID"])
def test_patients_are_known_by_what_hospitals_call_their_column(tmp_path: Path, name: str):
    names = [f"{number}.png" for number in range(12)]
    _images(tmp_path, names)
    rows = [f"{file},{4711 + n // 2},{'x' if n % 2 else 'y'}" for n, file in enumerate(names)]
    manifest = _read(tmp_path, "\n".join([f"file,{name},finding", *rows]))
    assert len({case.patient_id for case in manifest.cases}) == 6
    assert manifest.classes == ("x", "y")
    assert not manifest.cases[0].attributes
    assert not manifest.found


def test_a_second_column_of_patients_is_neither_label_nor_attribute(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    manifest = _read(
        tmp_path,
        "file,patient_name,patient_id,finding\na.png,Doe,1,x\nb.png,Doe,1,y\nc.png,Roe,2,x\nd.png,Roe,2,y\n",
    )
    assert [case.patient_id for case in manifest.cases] == ["1", "1", "2", "2"]
    assert manifest.cases[0].attributes == {}
    assert not manifest.found


@pytest.mark.parametrize("name", ["path", "pathology", "pattern", "patch"])
def test_a_column_that_only_begins_like_patient_is_none(tmp_path: Path, name: str):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    manifest = _read(tmp_path, f"file,{name}\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    assert manifest.classes == ("x", "y")


@pytest.mark.parametrize("mark", ["|", ";", "/", ", ", " + "])
def test_several_labels_in_one_cell_are_warned_of(tmp_path: Path, mark: str):
    _images(tmp_path, [f"{n}.png" for n in range(8)])
    labels = ["edema", f"edema{mark}nodule", "nodule", "none"] * 2
    rows = [f'{n}.png,"{label}"' for n, label in enumerate(labels)]
    manifest = _read(tmp_path, "\n".join(["file,label", *rows]))
    assert _problem(manifest, "several-labels-in-one-cell") == (f"edema{mark}nodule",)


@pytest.mark.parametrize("labels", [("w/o finding", "cyst"), ("T1/N0", "T2/N1"), ("x-ray", "a, b")])
def test_a_class_with_a_mark_in_its_name_is_no_several_labels(tmp_path: Path, labels: tuple[str, str]):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    rows = [f'{name}.png,"{label}"' for name, label in zip("abcd", labels * 2, strict=True)]
    assert not _read(tmp_path, "\n".join(["file,label", *rows])).found


def test_a_label_column_with_too_many_values_is_named_with_the_reason(tmp_path: Path):
    _images(tmp_path, [f"{n}.png" for n in range(5)])
    with pytest.raises(SourceError, match=r"'label' has 3 different values in 5 rows, more than half"):
        _read(tmp_path, "file,label\n0.png,a\n1.png,b\n2.png,c\n3.png,a\n4.png,b\n")


def test_a_column_called_label_keeps_its_values_as_classes_and_is_chosen_among_words(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    assert _read(tmp_path, "file,label\na.png,0\nb.png,1\nc.png,0\nd.png,1\n").classes == ("0", "1")
    manifest = _read(tmp_path, "file,label,view\na.png,x,PA\nb.png,y,AP\nc.png,x,PA\nd.png,y,AP\n")
    assert manifest.classes == ("x", "y")
    assert manifest.cases[0].attributes == {"view": "PA"}
    assert _problem(manifest, "column-not-used-as-label") == ("view",)


def test_free_text_and_many_numbers_are_attributes_and_it_is_said(tmp_path: Path):
    names = [f"{number}.png" for number in range(8)]
    _images(tmp_path, names)
    rows = [f"{name},{'x' if n % 2 else 'y'},report {n},{n / 7:.3f}" for n, name in enumerate(names)]
    manifest = _read(tmp_path, "\n".join(["file,class,report,volume_ml", *rows]))
    assert manifest.classes == ("x", "y")
    assert _problem(manifest, "column-not-used-as-label") == ("report", "volume_ml")
    assert manifest.cases[1].attributes == {"report": "report 1", "volume_ml": 0.143}


def test_numbers_as_classes_are_ordered_by_size(tmp_path: Path):
    names = [f"{number}.png" for number in range(6)]
    _images(tmp_path, names)
    rows = [f"{name},{grade}" for name, grade in zip(names, (10, 9, 2, 10, 9, 2), strict=True)]
    assert _read(tmp_path, "\n".join(["file,grade", *rows])).classes == ("2", "9", "10")


def test_missing_ambiguous_repeated_and_unlabelled_images_are_named(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png", "c.tif", "free.png"])
    manifest = _read(tmp_path, "file,label\na,x\nb,y\na.png,x\nc,y\ngone,x\n")
    assert [case.case_id for case in manifest.cases] == ["a", "b"]
    assert _problem(manifest, "label-without-file") == ("gone",)
    assert _problem(manifest, "ambiguous-file") == ("c",)
    assert _problem(manifest, "file-named-twice") == ("a.png",)
    assert set(_problem(manifest, "file-without-label")) == {"c.png", "c.tif", "free.png"}


def test_classes_that_differ_in_case_only_are_an_error(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"])
    manifest = _read(tmp_path, "file,label\na.png,Cyst\nb.png,cyst\nc.png,none\nd.png,none\ne.png,none\nf.png,none\n")
    assert _problem(manifest, "similar-class-names") == ("Cyst / cyst",)


def test_a_row_without_a_patient_is_its_own_patient_and_named(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png"])
    manifest = _read(tmp_path, "file,patient,label\na.png,,x\nb.png,p,y\n")
    assert [case.patient_id for case in manifest.cases] == ["a", "p"]
    assert _problem(manifest, "patient-not-known") == ("a",)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\na.png,x,y\n", "line 2 has 3 values"),
        ("file,label,label\na.png,x,y\n", "more than one 'label'"),
        ("file,label\n", "at least one row"),
        ("", "empty"),
        ("file,split,label\na.png,later,x\nb.png,train,y\n", "'later'"),
        ("file\na.png\nb.png\n", "a label column is expected"),
        ("file,label\nx1.png,x\nx2.png,y\n", "none of the 2 images in column 'file'"),
        ("one,two,label\na.png,b.png,x\nb.png,a.png,y\n", "all name images"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str, match: str):
    _images(tmp_path, ["a.png", "b.png"])
    with pytest.raises(SourceError, match=match):
        _read(tmp_path, text)


def test_several_tables_in_a_folder_are_not_chosen_from(tmp_path: Path):
    _images(tmp_path, ["a.png"])
    (tmp_path / "two.csv").write_text("file,label\na.png,x")
    with pytest.raises(SourceError, match=r"found table.csv, two.csv"):
        _read(tmp_path, "file,label\na.png,x\n")


def test_images_are_found_in_a_folder_of_any_name_and_in_other_upper_and_lower_case(tmp_path: Path):
    _images(tmp_path / "Bilder", ["A1.PNG", "b2.png"])
    manifest = _read(tmp_path, "Bild;Diagnose\na1.png;krank\nB2;gesund\n")
    assert [case.images[0].path.name for case in manifest.cases] == ["A1.PNG", "b2.png"]
    assert manifest.columns == {"image": ("Bild",), "label": ("Diagnose",), "patient": (), "split": (), "site": ()}


def test_upper_and_lower_case_tell_apart_files_that_only_they_tell_apart(tmp_path: Path):
    _images(tmp_path, ["a.png", "A.png"])
    manifest = _read(tmp_path, "file,class\na.png,x\nA.png,y\n")
    assert {case.images[0].path.name: case.label for case in manifest.cases} == {"a.png": "x", "A.png": "y"}


def test_a_name_that_lies_in_two_folders_is_ambiguous(tmp_path: Path):
    _images(tmp_path, ["one/a.png", "two/a.png", "one/b.png", "one/c.png"])
    manifest = _read(tmp_path, "file,class\na.png,x\nb.png,y\nc.png,y\n")
    assert _problem(manifest, "ambiguous-file") == ("a.png",)


def test_a_lost_image_is_not_looked_for_among_pictures_that_are_called_alike(tmp_path: Path):
    _images(tmp_path, ["images/a.png", "images/b.png", "masks/a.png", "masks/b.png", "masks/c.png"])
    manifest = _read(tmp_path, "file,class\na.png,x\nb.png,y\nc.png,y\n")
    assert _problem(manifest, "label-without-file") == ("c.png",)


@pytest.mark.parametrize("names", [("a.png", "b.png", "c.png"), ("a", "b", "c")])
def test_a_table_without_a_line_of_names_is_refused(tmp_path: Path, names: tuple[str, str, str]):
    _images(tmp_path, ["a.png", "b.png", "c.png"])
    with pytest.raises(SourceError, match="whose first line names the columns"):
        _read(tmp_path, "\n".join(f"{name},{number % 2}" for number, name in enumerate(names)))


def test_plus_and_minus_are_classes(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    assert _read(tmp_path, "file,result\na.png,+\nb.png,-\nc.png,+\nd.png,-\n").classes == ("+", "-")


def test_a_table_without_a_column_of_images_says_which_columns_there_are(tmp_path: Path):
    _images(tmp_path, ["a.png"])
    with pytest.raises(SourceError, match=r"Nearly fits: .*found columns Bild, Diagnose"):
        _read(tmp_path, "Bild;Diagnose\nx;krank\ny;gesund\n")


def test_what_spreadsheets_put_above_the_column_names_is_skipped_or_named(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png"])
    assert _read(tmp_path, "sep=;\nfile;class\na.png;x\nb.png;y\n").classes == ("x", "y")
    with pytest.raises(SourceError, match="Take away what stands above the column names"):
        _read(tmp_path, "Export 1.1.2024;\nfile;class\na.png;x\nb.png;y\n")
    with pytest.raises(SourceError, match="Take away what stands above the column names"):
        _read(tmp_path, "Export 1.1.2024\nfile;class\na.png;x\nb.png;y\n")


def test_a_column_that_may_name_patients_is_suspected_where_no_other_does(tmp_path: Path):
    names = [f"{number:02}.png" for number in range(24)]
    _images(tmp_path, names)
    rows = [f"{name},{number % 2},A{number // 2},P{number // 2}" for number, name in enumerate(names)]
    manifest = _read(tmp_path, "\n".join(["file,label,Kennung,patient", *rows]))
    assert _problem(manifest, "column-may-name-patients") == ()
    manifest = _read(tmp_path, "\n".join(["file,label,Kennung,Ansicht", *(row.replace("P", "V") for row in rows)]))
    assert _problem(manifest, "column-may-name-patients") == ("Kennung", "Ansicht")


def test_a_label_of_zero_and_one_is_chosen_among_words_beside_it(tmp_path: Path):
    _images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    manifest = _read(tmp_path, "file,label,remark\na.png,0,ok\nb.png,1,blurred\nc.png,0,ok\nd.png,1,ok\n")
    assert manifest.classes == ("0", "1")
    assert _problem(manifest, "column-not-used-as-label") == ("remark",)
