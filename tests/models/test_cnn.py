"""The family that says what an image shows."""

import pytest
import torch
from pydantic import ValidationError

from overread.errors import RecipeError, UnknownName
from overread.models.cnn import Cnn
from overread.models.contract import Batch, Shape

CLASS_NAMES = ("a", "b", "c", "d", "e")
TINY = Cnn.Settings(backbone="test_efficientnet", weights="none")


def cnn_of(settings: Cnn.Settings = TINY, task="single-label", classes: int = 3) -> Cnn:
    torch.manual_seed(0)
    return Cnn.build(settings, Shape(task, CLASS_NAMES[:classes], 1))


def images_of(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 1, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("task", "name"), [("single-label", "cross-entropy"), ("multi-label", "bce")])
def test_the_loss_fits_the_task_unless_another_is_named(task: str, name: str) -> None:
    batch = Batch(images_of(), tuple("abcd"), targets=torch.tensor([0, 1, 2, 0]))
    if task == "multi-label":
        batch = Batch(images_of(), tuple("abcd"), targets=torch.eye(4)[:, :3])
    assert list(cnn_of(task=task).loss(batch)) == [name]
    named = cnn_of(Cnn.Settings(**{**TINY.model_dump(), "loss": "bce"}), task)
    assert list(named.loss(batch)) == ["bce"]


def test_scores_are_shares_where_one_class_applies_and_stand_alone_where_several_do() -> None:
    one, several = cnn_of(task="single-label").eval(), cnn_of(task="multi-label").eval()
    with torch.no_grad():
        logits = one.network(images_of())
        torch.testing.assert_close(one.predict(images_of()).scores, logits.exp() / logits.exp().sum(1, keepdim=True))
        torch.testing.assert_close(several.predict(images_of()).scores, 1 / (1 + (-logits).exp()))


def test_scores_keep_full_precision_when_the_network_computes_in_bfloat16() -> None:
    model = cnn_of().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = model.predict(images_of()).scores
    assert scores is not None
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(1), torch.ones(4))


def test_frozen_levels_keep_their_weights_and_the_others_learn() -> None:
    model = cnn_of(Cnn.Settings(backbone="test_efficientnet", weights="none", frozen=2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.1)
    model.loss(Batch(images_of(), tuple("abcd"), targets=torch.tensor([0, 1, 2, 0])))["cross-entropy"].backward()
    optimiser.step()
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    first = {name for name in before if name.startswith(("network.conv_stem", "network.bn1", "network.blocks.0"))}
    assert same >= first
    assert len(same) < len(before) / 2


def test_dropout_varies_the_loss_and_never_the_answer() -> None:
    model = cnn_of(Cnn.Settings(backbone="test_efficientnet", weights="none", dropout=0.5))
    batch = Batch(images_of(), tuple("abcd"), targets=torch.tensor([0, 1, 2, 0]))
    model.eval()
    with torch.no_grad():
        answers = [model.predict(images_of()).scores for _ in range(2)]
    assert torch.equal(answers[0], answers[1])
    model.train()
    losses = {float(model.loss(batch)["cross-entropy"].detach()) for _ in range(3)}
    assert len(losses) > 1


def test_the_same_seed_gives_the_same_fresh_network() -> None:
    first, second = cnn_of().state_dict(), cnn_of().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"dropout": -0.1}, {"weight": "none"}, {"backbone": 3}])
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Cnn.Settings(**wrong)


@pytest.mark.parametrize(
    ("backbone", "side"),
    [("levit_128s", 224), ("deit_tiny_distilled_patch16_224", 224), ("repvit_m0_9", 64), ("caformer_s18", 64)],
)
def test_a_network_whose_classifier_has_several_parts_begins_without_an_opinion(backbone: str, side: int) -> None:
    model = cnn_of(Cnn.Settings(backbone=backbone, weights="none")).eval()
    images = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = model.predict(images).scores
    assert (scores - 1 / 3).abs().max() < 0.25
    named = model.network.default_cfg["classifier"]
    layers = {name: layer for name, layer in model.network.named_modules() if isinstance(layer, torch.nn.Linear)}
    narrow = {name for name, layer in layers.items() if layer.weight.std() < 0.013}
    assert narrow == ({named} if isinstance(named, str) else set(named))
    assert not any(layers[name].bias.any() for name in narrow)
    batch = Batch(images, ("a", "b"), targets=torch.tensor([0, 2]))
    assert model.train().loss(batch)["cross-entropy"].isfinite()


def test_images_of_another_size_than_the_only_one_are_refused_by_name_wherever_a_network_meets_them() -> None:
    model, images = cnn_of(Cnn.Settings(backbone="vit_tiny_patch16_224", weights="none")), torch.zeros(2, 1, 128, 96)
    said = r"^model\.backbone: 'vit_tiny_patch16_224' takes images of 224 x 224 px alone; found 128 x 96 px"
    with pytest.raises(RecipeError, match=said):
        model.loss(Batch(images, ("a", "b"), targets=torch.tensor([0, 1])))
    with pytest.raises(RecipeError, match=said):
        model.predict(images)
    with pytest.raises(RecipeError, match=said):
        model.levels(images)


@pytest.mark.parametrize("backbone", ["mobilenetv5_300m_enc", "qwen3_vit_306m_enc"])
def test_a_network_that_cannot_name_classes_is_refused(backbone: str) -> None:
    with torch.device("meta"), pytest.raises(RecipeError, match=rf"^model\.backbone: .*'{backbone}'.*resnet18"):
        cnn_of(Cnn.Settings(backbone=backbone, weights="none"))


def test_an_unknown_loss_or_network_is_answered_with_names() -> None:
    with pytest.raises(UnknownName, match=r"No loss is called 'vocal'\. Did you mean 'focal'"):
        cnn_of(Cnn.Settings(backbone="test_efficientnet", weights="none", loss="vocal"))
    with pytest.raises(RecipeError, match="timm has no network"):
        cnn_of(Cnn.Settings(backbone="my_net", weights="none"))
