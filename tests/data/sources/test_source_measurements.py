"""Tables of measurements without images, as laboratories and people write them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overread.data.manifest import Manifest
from overread.data.problems import problems
from overread.data.sources import open_data
from overread.data.sources.cells import Cells
from overread.data.sources.measurements import measured_data, new_rows
from overread.errors import SourceError

ROWS = 12
RNG = np.random.default_rng(0)


def _table(**columns: object) -> pd.DataFrame:
    """Two measurements and a label; other columns beside or instead of them."""
    base = {
        "radius": [f"{value:.3f}" for value in RNG.normal(14, 3, ROWS)],
        "area": [f"{value:.2f}" for value in RNG.normal(600, 90, ROWS)],
        "diagnosis": ["benign", "malignant", "benign"] * (ROWS // 3),
    }
    given = {name: value for name, value in (base | columns).items() if value is not None}
    return pd.DataFrame(given).astype(str)


def _read(folder: Path, **columns: object) -> Manifest:
    folder.mkdir(exist_ok=True)
    _table(**columns).to_csv(folder / "table.csv", index=False)
    return open_data(folder / "table.csv")


def _with(column: list[str], row: int, cell: str) -> list[str]:
    return [*column[:row], cell, *column[row + 1 :]]


NUMBERS = [f"{value / 7:.3f}" for value in range(5, 5 + ROWS)]
FLAGS = ["0", "1"] * (ROWS // 2)


def _named(manifest: Manifest, *, severity: str | None = None) -> dict[str, tuple[str, ...]]:
    return {one.name: one.where for one in manifest.found if severity in {None, one.severity}}


def _message(manifest: Manifest, name: str) -> str:
    return next(problem.message for problem in manifest.found if problem.name == name)


def test_numbers_are_measurements_and_the_column_of_words_is_the_label(tmp_path: Path):
    manifest = _read(tmp_path)
    assert (manifest.source, manifest.task, manifest.unit) == ("table", "single-label", "row")
    assert manifest.measurements == ("radius", "area")
    assert manifest.classes == ("benign", "malignant")
    assert manifest.columns["measurement"] == ("radius", "area")
    assert [case.case_id for case in manifest.cases][:2] == ["row-01", "row-02"]
    assert manifest.cases[0].images == ()
    assert all(len(case.measurements) == 2 and math.isfinite(sum(case.measurements)) for case in manifest.cases)
    assert not manifest.found


def test_patients_sites_splits_and_ids_are_known_and_a_numeric_age_is_measured(tmp_path: Path):
    manifest = _read(
        tmp_path,
        sample_id=[f"S{row}" for row in range(ROWS)],
        patient=[f"P{row // 2}" for row in range(ROWS)],
        split=["train"] * 6 + ["test"] * 6,
        site=["Bern"] * ROWS,
        age=[str(40 + row % 5) for row in range(ROWS)],
        sex=["F", "M"] * 6,
    )
    case = manifest.cases[1]
    assert manifest.measurements == ("radius", "area", "age")
    assert (case.case_id, case.patient_id, case.split, case.site) == ("S1", "P0", "train", "Bern")
    assert case.attributes == {"age": 41.0, "sex": "M"}
    assert not manifest.found


def test_several_columns_of_zero_and_one_are_several_labels(tmp_path: Path):
    manifest = _read(tmp_path, diagnosis=None, edema=FLAGS, nodule=["1", "0", "", "1"] * 3)
    assert manifest.task == "multi-label"
    assert manifest.classes == ("edema", "nodule")
    assert manifest.cases[2].labels == {"edema": False, "nodule": None}
    assert manifest.measurements == ("radius", "area")


def test_beside_a_column_called_label_zero_and_one_and_a_few_whole_numbers_are_measured(tmp_path: Path):
    manifest = _read(tmp_path, smoker=FLAGS[::-1], grade=["1", "2", "3", "2"] * 3)
    assert manifest.classes == ("benign", "malignant")
    assert manifest.measurements == ("radius", "area", "smoker", "grade")


def test_words_beside_zero_and_one_are_not_guessed_between(tmp_path: Path):
    with pytest.raises(SourceError, match=r"could all be labels: 'finding', 'smoker'. Call the one to learn 'label'"):
        _read(tmp_path, diagnosis=None, finding=["x", "y"] * 6, smoker=FLAGS)
    manifest = _read(tmp_path, diagnosis=None, finding=["x", "y"] * 6, measurement_smoker=FLAGS[3:] + FLAGS[:3])
    assert manifest.measurements == ("radius", "area", "measurement_smoker")


def test_a_label_column_of_several_with_text_in_it_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match=r"column 'nodule' says '0', '1', 'maybe'"):
        _read(tmp_path, diagnosis=None, edema=FLAGS, nodule=_with(FLAGS, 4, "maybe"))


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"diagnosis": None}, "a label column is expected beside the measurements"),
        ({"radius": None, "area": None}, "at least one column of numbers"),
        ({"radius": ["1"] * ROWS, "area": ["2"] * ROWS}, "at least one column of numbers that differ"),
        ({"diagnosis": [f"{row / 7:.3f}" for row in range(ROWS)]}, "12 different values"),
    ],
)
def test_a_table_without_numbers_or_without_a_label_is_refused(tmp_path: Path, columns: dict[str, object], match: str):
    with pytest.raises(SourceError, match=match):
        _read(tmp_path, **columns)


@pytest.mark.parametrize("name", ["id", "Sample ID", "sampleId", "lab_no", "number", "index", "Unnamed: 0"])
def test_a_column_that_is_called_like_an_id_is_never_measured(tmp_path: Path, name: str):
    numbers = _with([f"{row / 7:.2f}" for row in range(ROWS)], 3, "0.00")  # one comes back: it names no row
    manifest = _read(tmp_path, **{name: numbers})
    assert manifest.measurements == ("radius", "area")
    assert _named(manifest).keys() & {"column-may-be-an-id", "column-may-name-patients"}


@pytest.mark.parametrize("name", ["lipid", "steroid", "thyroid", "acid"])
def test_a_measurement_whose_name_only_ends_like_an_id_stays_one(tmp_path: Path, name: str):
    assert _read(tmp_path, **{name: NUMBERS}).measurements == ("radius", "area", name)


def test_a_running_number_is_left_out_and_named_unless_it_is_called_a_measurement(tmp_path: Path):
    running = [str(1000 + 3 * row) for row in range(ROWS)]
    manifest = _read(tmp_path, count=running)
    assert manifest.measurements == ("radius", "area")
    assert _named(manifest) == {"column-may-be-an-id": ("count",)}
    assert _read(tmp_path, measurement_count=running).measurements[-1] == "measurement_count"


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("", "measurement-missing"),
        ("NaN", "measurement-missing"),
        ("NA", "measurement-missing"),
        ("inf", "measurement-infinite"),
        ("-Infinity", "measurement-infinite"),
        ("1e39", "measurement-infinite"),
        ("pending", "measurement-not-a-number"),
        ("5 mm", "measurement-not-a-number"),
        ("1.234,5", "measurement-not-a-number"),
        ("0x1A", "measurement-not-a-number"),
        ("1_000", "measurement-not-a-number"),
    ],
)
def test_a_cell_that_is_no_number_is_an_error_that_names_column_and_rows(tmp_path: Path, cell: str, kind: str):
    manifest = _read(tmp_path, volume=_with(_with(NUMBERS, 2, cell), 7, cell))
    assert _named(manifest, severity="error") == {kind: ("volume",)}
    assert "volume (2 rows: 3, 8)" in _message(manifest, kind)
    assert "attribute_" in _message(manifest, kind)
    assert "pending" not in _message(manifest, kind)  # what stands there may be a name
    assert len(manifest.cases) == ROWS - 2


def test_a_column_called_attribute_is_neither_measured_nor_checked(tmp_path: Path):
    manifest = _read(tmp_path, attribute_volume=_with(NUMBERS, 2, ""))
    assert manifest.measurements == ("radius", "area")
    assert manifest.cases[2].attributes == {"attribute_volume": None}
    assert not manifest.found


def test_a_constant_column_is_left_out_and_named(tmp_path: Path):
    manifest = _read(tmp_path, pressure=["7.0"] * ROWS)
    assert manifest.measurements == ("radius", "area")
    assert _named(manifest) == {"measurement-constant": ("pressure",)}
    assert {len(case.measurements) for case in manifest.cases} == {2}


def test_a_column_of_one_value_but_for_a_few_rows_is_named(tmp_path: Path):
    manifest = _read(tmp_path, rare=_with(["0.5"] * ROWS, 4, "1.5"))
    assert manifest.measurements == ("radius", "area", "rare")
    assert _named(manifest) == {"measurement-nearly-constant": ("rare",)}


def test_many_equal_rows_of_different_patients_do_not_stop_a_training(tmp_path: Path):
    table = _table(radius=["1.5", "2.5", "3.5"] * 4, area=["1.5", "2.5", "3.5"] * 4, diagnosis=["x", "y"] * 6)
    table.to_csv(tmp_path / "t.csv", index=False)
    found = {problem.name: problem.severity for problem in problems(open_data(tmp_path / "t.csv"))}
    assert found["many-duplicate-images"] == "warning"


def test_numbers_that_differ_only_beyond_what_a_model_sees_are_constant(tmp_path: Path):
    manifest = _read(tmp_path, time=[f"1700000000.{row}" for row in range(ROWS)])
    assert _named(manifest) == {"measurement-constant": ("time",)}


def test_equal_columns_are_named(tmp_path: Path):
    manifest = _read(tmp_path, volume=NUMBERS, again=[f"{number}0" for number in NUMBERS])
    assert _named(manifest) == {"equal-measurements": ("volume = again",)}


def test_a_column_that_says_the_label_in_numbers_is_an_error(tmp_path: Path):
    codes = ["3.5", "1.25", "3.5"] * (ROWS // 3)
    manifest = _read(tmp_path, code=codes)
    assert _named(manifest, severity="error") == {"measurement-equals-label": ("code",)}
    manifest = _read(tmp_path, diagnosis=None, edema=FLAGS, nodule=[*FLAGS[1:], "1"], measurement_late=FLAGS)
    assert _named(manifest, severity="error") == {"measurement-equals-label": ("measurement_late",)}
    assert not _named(_read(tmp_path, code=_with(codes, 0, "1.25")))


def test_decimal_commas_are_read_and_two_ways_in_one_table_are_an_error(tmp_path: Path):
    table = _table()
    for name in ("radius", "area"):
        table[name] = table[name].str.replace(".", ",")
    table.to_csv(tmp_path / "t.csv", sep=";", index=False)
    manifest = open_data(tmp_path / "t.csv")
    assert manifest.cases[0].measurements[1] == pytest.approx(float(table["area"][0].replace(",", ".")))
    assert "decimals-written-in-two-ways" not in _named(manifest)
    table["volume"] = NUMBERS
    table.to_csv(tmp_path / "t.csv", sep=";", index=False)
    assert _named(open_data(tmp_path / "t.csv"), severity="error") == {"decimals-written-in-two-ways": ("volume",)}


def test_commas_that_may_part_thousands_are_said(tmp_path: Path):
    table = _table(area=[f"{row % 9 + 1},{row * 37 + 100}" for row in range(ROWS)], radius=None)
    table.to_csv(tmp_path / "t.csv", sep=";", index=False)
    assert _named(open_data(tmp_path / "t.csv")) == {"comma-may-part-thousands": ("area",)}


def test_equal_rows_are_found_as_equal_images_are(tmp_path: Path):
    table = _table(patient=[f"P{row}" for row in range(ROWS)])
    table.loc[5, ["radius", "area"]] = table.loc[1, ["radius", "area"]]
    table.to_csv(tmp_path / "t.csv", index=False)
    found = {problem.name: problem.where for problem in problems(open_data(tmp_path / "t.csv"))}
    assert found["duplicate-images"] == ("row-02", "row-06")
    assert found["duplicates-with-different-truth"] == ("row-02", "row-06")


def test_a_parquet_table_says_what_the_csv_says(tmp_path: Path):
    numbers = RNG.normal(size=(ROWS, 2)).astype(np.float64)
    table = pd.DataFrame({"a": numbers[:, 0], "b": numbers[:, 1] * 1e-7, "label": ["x", "y"] * 6})
    table.to_parquet(tmp_path / "t.parquet")
    table.to_csv(tmp_path / "t.csv", index=False)
    one, other = open_data(tmp_path / "t.parquet"), open_data(tmp_path / "t.csv")
    assert one.fingerprint == other.fingerprint
    assert one.cases[0].measurements == tuple(numbers[0] * (1, 1e-7))


def test_a_table_of_images_that_are_lost_is_not_taken_for_measurements(tmp_path: Path):
    (tmp_path / "t.csv").write_text("image_id,width,label\n" + "".join(f"{n},{n}.5,{'xy'[n % 2]}\n" for n in range(8)))
    with pytest.raises(SourceError, match="a column is expected whose values are image files"):
        open_data(tmp_path / "t.csv")


def test_a_folder_of_images_beside_a_table_of_numbers_is_not_taken_for_measurements(tmp_path: Path):
    (tmp_path / "scan.png").write_bytes(b"\x89PNG")
    _table().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SourceError, match="a column is expected whose values are image files"):
        open_data(tmp_path, source="table")
    assert open_data(tmp_path / "t.csv").measurements  # the table itself was named


def test_a_table_to_be_evaluated_is_read_by_the_names_that_the_model_knows(tmp_path: Path):
    table = _table(extra=NUMBERS, radius=["7.0"] * ROWS)[["diagnosis", "radius", "extra", "area"]]
    table.to_csv(tmp_path / "t.csv", index=False)
    manifest = measured_data(tmp_path / "t.csv", measurements=("area", "radius"))
    assert manifest.measurements == ("area", "radius")
    assert manifest.cases[0].measurements == (float(table["area"][0]), 7.0)
    assert _named(manifest) == {"column-not-used-as-label": ("extra",)}
    with pytest.raises(SourceError, match=r"found no column 'Radius' \(but 'radius'\)"):
        measured_data(tmp_path / "t.csv", measurements=("area", "Radius"))


def test_new_rows_are_found_by_name_and_those_with_a_gap_are_refused_by_name(tmp_path: Path):
    path = tmp_path / "new.csv"
    path.write_text("area,comment,sample_id,radius\n5.5,x,A,1.0\n,x,B,2.0\n7.5,x,C,soon\n8.5,x,D,inf\n9.5,x,E,5.0\n")
    rows = new_rows(path, ("radius", "area"))
    assert rows.names == ("A", "B", "C", "D", "E")
    assert {name: case.measurements for name, case in rows.cases.items()} == {"A": (1.0, 5.5), "E": (5.0, 9.5)}
    assert rows.refused["B"].startswith("nothing stands in 'area'")
    assert rows.refused["C"].startswith("no number stands in 'radius'")
    assert rows.refused["D"].startswith("no finite number in 'radius'")
    assert rows.unused == ("comment",)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("radius\n1.5\n", r"found no column 'area'"),
        ("radius;area\n1,5;2.5\n", "decimals are expected to be written in one way"),
        ("radius,area\n", "at least one row"),
    ],
)
def test_new_rows_that_cannot_be_understood_refuse_the_table(tmp_path: Path, text: str, match: str):
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(SourceError, match=match):
        new_rows(tmp_path / "new.csv", ("radius", "area"))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_number_that_python_writes_is_read_back(numbers: list[float]):
    cells = Cells.of(pd.DataFrame({"a": list(map(repr, numbers))}), ["a"])
    assert cells.values[:, 0].tolist() == numbers
    assert cells.usable.all()


@given(st.text(min_size=1, max_size=8).map(str.strip).filter(bool))
def test_a_cell_is_a_number_empty_infinite_or_text_and_never_two_of_them(cell: str):
    cells = Cells.of(pd.DataFrame({"a": [cell]}), ["a"])
    kinds = [cells.usable[0], cells.empty[0, 0], cells.text[0, 0], cells.infinite[0, 0]]
    assert sum(map(bool, kinds)) == 1
    if cells.usable[0]:
        assert cells.values[0, 0] == float(cell.replace(",", "."))
