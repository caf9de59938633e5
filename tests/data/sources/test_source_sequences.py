"""Rows of a table that belong to one examination, and become one case of several images."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from overread.data.dataset import CaseBatches
from overread.data.manifest import Manifest
from overread.data.prepared import PreparedImages
from overread.data.sources import open_data
from overread.models.contract import Shape, models
from overread.preprocessing.intensity import MinMax


def _read(folder: Path, header: str, rows: list[str], *, lost: tuple[str, ...] = ()) -> Manifest:
    """A table whose first column names pictures, each of one grey value of its own."""
    for number, name in enumerate(dict.fromkeys(row.split(",")[0] for row in rows)):
        if name not in lost:
            Image.fromarray(np.full((6, 5), 10 * number, np.uint8)).save(folder / name)
    (folder / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return open_data(folder)


def _images(manifest: Manifest) -> dict[str, list[str]]:
    return {case.case_id: [ref.path.stem for ref in case.images] for case in manifest.cases}


def _found(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    return {problem.name: problem.where for problem in manifest.found}


EXAMINED = ["a.png,E1,2,x,P1", "b.png,E2,1,y,P2", "c.png,E1,10,x,P1", "d.png,E1,1,x,P1", "e.png,E2,0,y,P2"]


@pytest.mark.parametrize("case", ["case", "Case ID", "study", "Study-Nr", "examination", "exam_id", "Sequence"])
@pytest.mark.parametrize("order", ["order", "Visit", "slice number", "frame"])
def test_rows_of_one_examination_become_one_case_in_the_order_of_their_numbers(tmp_path: Path, case: str, order: str):
    manifest = _read(tmp_path, f"file,{case},{order},label,patient", EXAMINED)
    assert _images(manifest) == {"E1": ["d", "a", "c"], "E2": ["e", "b"]}
    assert [(one.label, one.patient_id) for one in manifest.cases] == [("x", "P1"), ("y", "P2")]
    assert (manifest.columns["case"], manifest.columns["order"]) == ((case,), (order,))
    assert not manifest.found


def test_the_order_of_the_rows_means_nothing_where_they_are_numbered(tmp_path: Path):
    rows = list(EXAMINED)
    random.Random(3).shuffle(rows)
    assert _images(_read(tmp_path, "file,case,order,label,patient", rows)) == _images(
        _read(tmp_path, "file,case,order,label,patient", EXAMINED)
    )


def test_dates_order_by_time_and_slices_within_a_visit(tmp_path: Path):
    rows = ["a.png,E,2024-02-01,1,x", "b.png,E,2023-11-30,2,x", "c.png,E,2023-11-30,1,x", "d.png,F,2024-01-01,1,y"]
    manifest = _read(tmp_path, "file,case,date,slice,label", rows)
    assert _images(manifest) == {"E": ["c", "b", "a"], "F": ["d"]}
    assert not manifest.found


@pytest.mark.parametrize("order", ["first,then,last", "1,,3", "2024-01-01,2,3"])
def test_an_order_that_is_neither_numbers_nor_dates_is_said_and_the_tables_is_taken(tmp_path: Path, order: str):
    rows = [f"{name}.png,E,{place},x" for name, place in zip("cab", order.split(","), strict=True)]
    manifest = _read(tmp_path, "file,case,visit,label", [*rows, "d.png,F,1,y"])
    assert _images(manifest)["E"] == ["c", "a", "b"]
    assert _found(manifest) == {"order-not-known": ("visit", "case")}
    assert {problem.severity for problem in manifest.found} == {"warning"}


def test_no_order_at_all_and_two_images_at_one_place_are_said(tmp_path: Path):
    manifest = _read(tmp_path, "file,case,label", ["a.png,E,x", "b.png,E,x", "c.png,F,y", "d.png,F,y"])
    assert _found(manifest) == {"order-not-known": ("case",)}
    rows = ["a.png,E,1,x", "b.png,E,1,x", "c.png,F,1,y", "d.png,F,2,y"]
    assert _found(_read(tmp_path, "file,case,order,label", rows)) == {"order-not-known": ("E",)}


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("label", "b.png,E,2,y,P1,train,Bern"),
        ("patient", "b.png,E,2,x,P2,train,Bern"),
        ("split", "b.png,E,2,x,P1,test,Bern"),
        ("site", "b.png,E,2,x,P1,train,Basel"),
        ("label", "b.png,E,2,,P1,train,Bern"),
        ("patient", "b.png,E,2,x,,train,Bern"),
    ],
)
def test_rows_of_a_case_that_contradict_each_other_are_an_error(tmp_path: Path, what: str, other: str):
    rows = ["a.png,E,1,x,P1,train,Bern", other, "c.png,F,1,y,P3,test,Basel", "d.png,F,2,y,P3,test,Basel"]
    manifest = _read(tmp_path, "file,case,order,label,patient,split,site", rows)
    (problem,) = [one for one in manifest.found if one.name == "case-contradicts-itself"]
    assert (problem.severity, problem.where) == ("error", ("E",))
    assert f"E ({what})" in problem.message


def test_a_case_without_any_image_is_named_and_so_is_one_that_is_missing(tmp_path: Path):
    rows = ["a.png,E,1,x", "b.png,E,2,x", "c.png,F,1,y", "d.png,F,2,y", "e.png,G,1,y", "f.png,G,2,y"]
    manifest = _read(tmp_path, "file,case,order,label", rows, lost=("b.png", "e.png", "f.png"))
    assert _images(manifest) == {"E": ["a"], "F": ["c", "d"]}
    assert _found(manifest)["case-without-images"] == ("G",)
    assert _found(manifest)["label-without-file"] == ("b.png", "e.png", "f.png")


def test_what_differs_between_the_images_of_a_case_is_not_said_of_the_case(tmp_path: Path):
    rows = ["a.png,E,1,50,L,x", "b.png,E,2,50,R,x", "c.png,F,1,60,L,y", "d.png,F,2,60,L,y"]
    manifest = _read(tmp_path, "file,case,order,age,attribute_side,label", rows)
    assert [dict(case.attributes) for case in manifest.cases] == [
        {"age": 50.0, "attribute_side": None},
        {"age": 60.0, "attribute_side": "L"},
    ]


def test_patients_of_cases_are_not_made_of_single_images(tmp_path: Path):
    manifest = _read(tmp_path, "file,case,order,label", ["a.png,E,1,x", "b.png,E,2,x", "c.png,F,1,y", "d.png,F,2,y"])
    assert [(case.case_id, case.patient_id) for case in manifest.cases] == [("E", "E"), ("F", "F")]
    assert not manifest.names_patients


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("file,case,label", ["a.png,1,x", "b.png,2,y", "c.png,3,x"]),  # nothing comes back
        ("file,case", ["a.png,0", "b.png,1", "c.png,0"]),  # a case or a control
        ("file,visit,label", ["a.png,1,x", "b.png,1,y", "c.png,2,x"]),
    ],
)
def test_an_ordinary_table_stays_one(tmp_path: Path, header: str, rows: list[str]):
    manifest = _read(tmp_path, header, rows)
    assert _images(manifest) == {"a": ["a"], "b": ["b"], "c": ["c"]}
    assert "case" not in manifest.columns
    assert "order-not-known" not in _found(manifest)


def test_an_lstm_learns_from_cases_of_different_length(tmp_path: Path):
    rows = [
        f"{case}-{place}.png,{case},{place},{'xy'[case % 2]}"
        for case in range(6)
        for place in range(1 + 3 * (case % 2))
    ]
    manifest = _read(tmp_path, "file,case,order,label", rows)
    assert sorted(len(case.images) for case in manifest.cases) == [1, 1, 1, 4, 4, 4]
    family = models.get("lstm")
    torch.manual_seed(0)
    network = family.build(family.Settings(), Shape(manifest.task, manifest.classes, 1, 3))
    batches = CaseBatches(
        manifest,
        manifest.cases,
        images=PreparedImages(tmp_path / "cache"),
        steps=(MinMax(),),
        batch_size=6,
        augmentation=None,
        seed=0,
        axes=3,
        fill_slices=network.takes_sequences,
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    (batch,) = batches.epoch(0)
    assert batch.lengths is not None
    assert sorted(batch.lengths.tolist()) == [1, 1, 1, 4, 4, 4]
    losses = []
    for _ in range(12):
        loss = torch.stack(list(network.loss(batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
