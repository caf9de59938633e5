import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn

from overread.models.backbones import backbone, freeze
from overread.models.quick import DepthwiseConv2d, FrozenNorm, quicken


def gradients(layer: nn.Module, images: Tensor, given: Tensor) -> list[Tensor]:
    images = images.clone().requires_grad_()
    answer = layer(images)
    answer.backward(given[..., : answer.shape[2], : answer.shape[3]])
    assert images.grad is not None
    return [answer.detach(), images.grad, *(one.grad for one in layer.parameters() if one.grad is not None)]


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from([5, 7, 9]),
    stride=st.sampled_from([1, 2, 3]),
    kind=st.sampled_from([nn.Conv2d, Conv2dSame]),
    size=st.tuples(st.integers(9, 20), st.integers(9, 20)),
    channels=st.integers(1, 20),
)
def test_a_quick_convolution_answers_and_learns_as_the_one_it_replaces(
    kernel: int, stride: int, kind: type[nn.Conv2d], size: tuple[int, int], channels: int
) -> None:
    torch.manual_seed(channels)
    pads = 0 if kind is Conv2dSame else kernel // 2
    plain = nn.Sequential(kind(channels, channels, kernel, stride, pads, groups=channels, bias=False))
    quick = copy.deepcopy(plain)
    quicken(quick)
    # one channel that is its own group is an ordinary convolution to torch as well; it is exchanged all the same
    assert type(quick[0]) is DepthwiseConv2d
    images, towards = torch.randn(2, channels, *size), torch.randn(2, channels, *size)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        images = images.to(memory_format=memory_format)
        for wanted, found in zip(gradients(plain, images, towards), gradients(quick, images, towards), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_it_learns_as_the_one_it_replaces_within_rounding() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 8, 5, 1, 2, groups=8, bias=False))
    quick = copy.deepcopy(plain)
    quicken(quick)
    images, towards = torch.randn(4, 8, 12, 12), torch.randn(4, 8, 12, 12).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        pairs = zip(gradients(plain, images, towards), gradients(quick, images, towards), strict=True)
    for wanted, found in pairs:
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, groups=4, bias=False),
        nn.Conv2d(8, 16, 5, groups=8, bias=False),
        nn.Conv2d(8, 8, 4, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, groups=8),
        nn.Conv2d(8, 8, 5, groups=8, dilation=2, bias=False),
        nn.Conv2d(8, 8, 5, groups=8, padding=2, padding_mode="reflect", bias=False),
        nn.Conv2d(8, 8, 5, groups=8, padding="same", bias=False),
        nn.Conv2d(8, 8, (5, 3), groups=8, bias=False),
        StdConv2d(8, 8, 5, groups=8, bias=False),
    ],
)
def test_other_convolutions_stay_as_they_are(layer: nn.Conv2d) -> None:
    network = nn.Sequential(layer)
    quicken(network)
    assert network[0] is layer


def test_a_backbone_has_quick_layers_under_timm_s_names_and_gives_timm_s_answers() -> None:
    import timm

    torch.manual_seed(0)
    plain = timm.create_model("tf_efficientnet_lite0", in_chans=1).eval()
    quick = backbone("tf_efficientnet_lite0", weights="none", channels=1).eval()
    quick.load_state_dict(plain.state_dict())
    assert sum(isinstance(layer, DepthwiseConv2d) for layer in quick.modules()) == 9
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(quick(images), plain(images))


@pytest.mark.parametrize(("name", "norms"), [("tf_efficientnet_lite0", 15), ("resnet18", 10)])
def test_frozen_levels_give_the_answers_and_gradients_of_batch_norms_that_are_not_trained(
    name: str, norms: int
) -> None:
    torch.manual_seed(0)
    plain = backbone(name, weights="none", channels=1).eval()
    for layer in plain.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for numbers in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert numbers is not None
                nn.init.uniform_(numbers, 0.5, 1.5)
    frozen = copy.deepcopy(plain)
    freeze(frozen, 3)
    assert sum(isinstance(layer, FrozenNorm) for layer in frozen.modules()) == norms
    assert not any("num_batches" not in key and key not in frozen.state_dict() for key in plain.state_dict())
    images = torch.randn(2, 1, 64, 64)
    wanted, found = plain(images), frozen(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    for answer in (wanted, found):
        answer.square().mean().backward()
    learned = dict(plain.named_parameters())
    for key, parameter in frozen.named_parameters():
        if parameter.requires_grad:
            wanted = learned[key].grad
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_a_frozen_norm_keeps_the_precision_of_what_it_is_given() -> None:
    network = backbone("tf_efficientnet_lite0", weights="none", channels=1)
    freeze(network, 1)
    norm = next(layer for layer in network.modules() if isinstance(layer, FrozenNorm))
    assert norm(torch.randn(1, 32, 8, 8).bfloat16()).dtype == torch.bfloat16


def test_quick_layers_draw_no_random_numbers() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8, bias=False))
    before = torch.get_rng_state()
    quicken(network)
    assert torch.equal(torch.get_rng_state(), before)
