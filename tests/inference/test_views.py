"""An image seen in several ways gets one answer, in its own pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.inference.views import Pose, View, views_of
from overread.models.contract import Marks, Output

FEW = settings(max_examples=60, deadline=None)
POSES = [Pose(mirrored, turns) for mirrored in (False, True) for turns in range(4)]


@st.composite
def lesions(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """An image's (row, column) and a box of at least a pixel in it."""
    rows, columns = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    left, top = draw(st.integers(0, columns - 1)), draw(st.integers(0, rows - 1))
    return (rows, columns), (
        left,
        top,
        draw(st.integers(left + 1, columns)),
        draw(st.integers(top + 1, rows)),
    )


@FEW
@given(lesions(), st.sampled_from(POSES), st.integers(0, 999))
def test_a_mark_is_brought_back_to_where_it_lies(
    lesion: tuple[tuple[int, int], tuple[int, int, int, int]], pose: Pose, seed: int
) -> None:
    (rows, columns), (left, top, right, bottom) = lesion
    image = torch.zeros(1, rows, columns)
    image[:, top:bottom, left:right] = 1
    cells = torch.from_numpy(np.random.default_rng(seed).random((5, 5), dtype=np.float32))
    seen = pose.of(image)[0].nonzero()
    (first_row, first_column), (last_row, last_column) = seen.amin(0).tolist(), seen.amax(0).tolist()
    marked = Marks(
        torch.tensor([[first_column, first_row, last_column + 1, last_row + 1]]).float(),
        torch.tensor([0.7]),
        torch.tensor([1]),
        pose.of(cells[None]),
    )
    back = pose.back(marked, (rows, columns))
    assert back.boxes.tolist() == [[left, top, right, bottom]]
    assert back.masks is not None
    assert torch.equal(back.masks[0], cells)
    assert back.scores is marked.scores
    assert back.classes is marked.classes


def test_all_eight_poses_are_seen_once_and_the_image_as_it_is_first() -> None:
    images = torch.arange(2 * 3 * 4.0).reshape(2, 1, 3, 4)
    views = list(views_of(images, mirrored=True, turned=True))
    assert {view.pose for view in views} == set(POSES)
    assert len({tuple(view.images.flatten().tolist()) for view in views}) == len(views) == len(POSES)
    assert torch.equal(views[0].images, images)


@pytest.mark.parametrize(
    ("asked", "poses"),
    [
        ({}, {Pose()}),
        ({"mirrored": True}, {Pose(), Pose(mirrored=True)}),
        ({"turned": True}, {Pose(turns=turns) for turns in range(4)}),
    ],
)
def test_only_what_is_asked_for_is_seen(asked: dict[str, bool], poses: set[Pose]) -> None:
    views = list(views_of(torch.zeros(1, 1, 2, 2), **asked))
    assert {view.pose for view in views} == poses
    assert len(views) == len(poses)


def test_volumes_are_turned_about_the_axis_of_their_slices() -> None:
    volumes = torch.arange(5 * 3 * 4.0).reshape(1, 1, 5, 3, 4)
    half = next(view for view in views_of(volumes, turned=True) if view.pose == Pose(turns=2))
    assert torch.equal(half.images, volumes.flip(-1, -2))


def test_what_lies_on_pixels_or_slices_is_told_of_the_images_as_they_are_alone() -> None:
    said = Output(torch.ones(2, 2), None, torch.ones(2, 3, 2), torch.ones(2, 4, 4), torch.ones(2, 1, 4, 4))
    as_it_is, mirror, varied = (
        View(torch.zeros(2, 1, 4, 4), pose).told(said, (4, 4)) for pose in (Pose(), Pose(mirrored=True), None)
    )
    assert as_it_is == said
    for one in (mirror, varied):
        assert one.scores is said.scores
        assert one.frame_scores is one.heatmaps is one.restored is None


def test_marks_on_varied_copies_are_never_taken_for_marks_on_the_image() -> None:
    marks = Marks(torch.zeros(1, 4), torch.ones(1), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(AssertionError):
        View(torch.zeros(1, 1, 4, 4), None).told(Output(marks=(marks,)), (4, 4))
