"""A prepared image beside its copies."""

import numpy as np

from overread.export.copies import Copy, Row, copies_sheet
from overread.finding import Finding, Region


def flat(value: float) -> Copy:
    return Copy(np.full((1, 16, 16), value, np.float32))


def test_a_brighter_copy_looks_brighter_also_where_its_slice_is_empty() -> None:
    row = Row((flat(0.0), flat(0.1), flat(0.5), flat(2.0)), (0.0, 1.0))
    grey = np.asarray(copies_sheet([row], ["a"], cell_px=64).convert("L"))[-20]
    cells = [int(grey[6 + column * 70 + 32]) for column in range(4)]
    assert cells == [0, 26, 128, 255]


def test_marks_are_drawn_where_they_are_in_their_own_copy() -> None:
    mark = Finding("mark", Region((2, 2, 14, 14)))
    row = Row((Copy(np.zeros((1, 16, 16), np.float32), (mark,)), flat(0.0)), (0.0, 1.0))
    colour = np.asarray(copies_sheet([row], ["a"], cell_px=160)).astype(int)
    orange = (colour[:, :, 0] - colour[:, :, 2]) > 150
    columns = np.flatnonzero(orange.any(axis=0))
    assert columns.min() >= 6 + 18
    assert columns.max() <= 6 + 142


def test_copies_of_any_size_and_long_titles_have_room() -> None:
    rows = [Row((Copy(np.random.default_rng(0).random((3, 40, 20), np.float32)), flat(0.3)), (0.0, 1.0))]
    one, many = (copies_sheet(rows, ["word " * count]) for count in (3, 300))
    assert many.width == one.width
    assert many.height > one.height
