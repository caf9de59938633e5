"""What a model fails at before anything was learned is told as what does not fit."""

import pytest
import torch
from torch import nn

from overread.errors import NonFiniteLoss, RecipeError
from overread.training.first_step import first_step

FLAT, VOLUME = torch.zeros(1, 1, 8, 8), torch.zeros(2, 3, 4, 8, 9)


@pytest.mark.parametrize(
    ("norm", "values"),
    [(nn.BatchNorm1d(5), (1, 5)), (nn.BatchNorm2d(5), (1, 5, 1, 1)), (nn.BatchNorm3d(5), (1, 5, 1, 1, 1))],
)
def test_a_single_value_a_channel_is_told_as_too_small_a_batch(norm: nn.Module, values: tuple[int, ...]) -> None:
    said = r"^training\.batch_size: .*torch\.Size\(\[1, 5.*Set it to 2 or more\. Nothing was learned yet\.$"
    with pytest.raises(RecipeError, match=said), first_step(FLAT, batch_size=1):
        norm(torch.zeros(values))


def test_a_single_value_is_not_called_too_small_a_batch_where_more_were_asked_for() -> None:
    with (
        pytest.raises(RecipeError, match=r"^model: .*1 x 1 x 8 x 8 .*Expected more than 1"),
        first_step(FLAT, batch_size=4),
    ):
        nn.BatchNorm1d(5)(torch.zeros(1, 5))


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, ValueError, IndexError, AttributeError, KeyError])
def test_what_a_network_fails_at_is_told_in_its_words_with_the_images_and_kept(error: type[Exception]) -> None:
    said = rf"^model: .* 2 x 3 x 4 x 8 x 9 \(case, channel, slice, row, column\): {error.__name__}: .*too odd"
    with pytest.raises(RecipeError, match=said) as raised, first_step(VOLUME, batch_size=2):
        raise error("too odd")
    assert isinstance(raised.value.__cause__, error)


@pytest.mark.parametrize(
    "error", [NonFiniteLoss("a"), torch.OutOfMemoryError("b"), MemoryError("c"), OSError("d"), KeyboardInterrupt()]
)
def test_what_is_not_the_recipes_fault_goes_on_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, first_step(FLAT, batch_size=1):
        raise error
    assert raised.value is error
