"""The same numbers in another order in memory."""

import copy

import pytest
import torch
from torch import nn

from overread.models.memory_format import format_of, laid_out, lay_out

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.mark.parametrize("axes", [4, 5])
def test_images_and_volumes_keep_their_numbers_in_both_orders(axes: int) -> None:
    images = torch.randn(2, 3, 4, 5, 6)[(slice(None),) * axes + (0,) * (5 - axes)].contiguous()
    last = laid_out(images, "channels_last")
    assert torch.equal(last, images)
    assert last.is_contiguous(memory_format=LAST[axes])
    assert (format_of(images), format_of(last)) == ("contiguous", "channels_last")
    assert laid_out(last, "contiguous").stride() == images.stride()
    assert laid_out(last, "channels_last") is last


@pytest.mark.parametrize("shape", [(), (3,), (2, 7), (2, 3, 4)])
def test_what_has_one_order_only_stays_as_it_is(shape: tuple[int, ...]) -> None:
    table = torch.randn(shape)
    assert laid_out(table, "channels_last") is table
    assert format_of(table) == "contiguous"


def test_a_model_of_flat_and_deep_layers_answers_alike_in_both_orders() -> None:
    model = nn.ModuleDict({"flat": nn.Conv2d(3, 4, 3), "deep": nn.Conv3d(3, 4, 3), "line": nn.Linear(2, 2)})
    volume = torch.randn(1, 3, 5, 5, 5)
    before = model["deep"](volume), model["flat"](volume[:, :, 0])
    assert lay_out(model, "channels_last") is model
    assert format_of(model["deep"].weight) == format_of(model["flat"].weight) == "channels_last"
    after = model["deep"](laid_out(volume, "channels_last")), model["flat"](volume[:, :, 0])
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)
    lay_out(model, "contiguous")
    assert format_of(model["deep"].weight) == "contiguous"


@pytest.mark.parametrize("weights", [nn.Conv2d(4, 5, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(1, 4, 3)])
def test_weights_that_have_both_orders_say_which_as_torch_lets_them(weights: nn.Conv2d) -> None:
    expected = copy.deepcopy(weights).to(memory_format=torch.channels_last)
    assert lay_out(weights, "channels_last").weight.stride() == expected.weight.stride()
    assert lay_out(weights, "contiguous").weight.stride() == torch.empty(weights.weight.shape).stride()
