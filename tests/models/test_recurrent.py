"""The families that read a sequence of frames: what is remembered, and what becomes of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from overread.errors import RecipeError
from overread.models.contract import Batch, Shape, models
from overread.models.recurrent import RecurrentSettings

FAMILIES = ("gru", "lstm", "rnn")
CLASS_NAMES = ("a", "b")
LENGTHS = (4, 1, 6, 3)
every_family = pytest.mark.parametrize("family", FAMILIES)


def model_of(family: str = "lstm", task: Any = "single-label", **settings: Any) -> Any:
    """A small network whose norms know such frames, or all of these would look alike to it; not in training."""
    torch.manual_seed(0)
    small = {} if "encoder" in settings else {"width": 4}
    built = models.get(family)
    model = built.build(built.Settings(hidden=8, **small, **settings), Shape(task, CLASS_NAMES, 1))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.encoder(torch.randn(8, 1, 32, 32))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def sequences(cases: int = 4, slices: int = 6, side: int = 12) -> Tensor:
    return torch.randn(cases, 1, slices, side, side, generator=torch.Generator().manual_seed(1))


def features_of(model: Any, images: Tensor) -> Tensor:
    """What the encoder says of each frame by itself, `(slice, feature)`, of one case `(channel, slice, ...)`."""
    return torch.cat([model.encoder(images[None, :, index]) for index in range(images.shape[1])])


def remembered_of(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the memory holds behind each frame, read from the first and from the last, of one case that is whole."""
    outputs, _ = model.memory(features_of(model, images)[None])
    hidden = model.memory.hidden_size
    return outputs[0, :, :hidden], outputs[0, :, hidden:]


@every_family
@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
@torch.no_grad()
def test_sequences_of_different_length_are_answered_as_each_one_alone(family: str, pooling: str) -> None:
    model, images = model_of(family, pooling=pooling, layers=2), sequences()
    alone = [model.predict(images[index : index + 1, :, :length]) for index, length in enumerate(LENGTHS)]
    for case, length in zip(images, LENGTHS, strict=True):
        case[:, length:] = 1e4  # what only fills up may hold anything
    whole, frames = model._logits(images, torch.tensor(LENGTHS))
    for index, length in enumerate(LENGTHS):
        torch.testing.assert_close(whole[index].softmax(0), alone[index].scores[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(frames[index, :length].softmax(1), alone[index].frame_scores[0])


@every_family
@torch.no_grad()
def test_the_last_of_both_directions_is_behind_the_last_frame_and_before_the_first(family: str) -> None:
    model, images = model_of(family, pooling="last", layers=2), sequences()
    whole, _ = model._logits(images, torch.tensor(LENGTHS))
    for found, case, length in zip(whole, images, LENGTHS, strict=True):
        forward, backward = remembered_of(model, case[:, :length])
        expected = model.head(torch.cat([forward[-1], backward[0]]))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@every_family
@torch.no_grad()
def test_the_last_of_one_direction_is_what_is_remembered_behind_the_last_frame(family: str) -> None:
    model, images = model_of(family, pooling="last", layers=2, bidirectional=False), sequences()
    whole, frames = model._logits(images, torch.tensor(LENGTHS))
    torch.testing.assert_close(whole, torch.stack([frames[index, length - 1] for index, length in enumerate(LENGTHS)]))


@every_family
@torch.no_grad()
def test_frames_behind_one_change_what_it_says_only_where_the_sequence_is_also_read_from_its_end(family: str) -> None:
    images = sequences(cases=1)
    other = images.clone()
    other[:, :, -1] += 5
    for bidirectional in (False, True):
        model = model_of(family, bidirectional=bidirectional)
        before, after = (model.predict(one).frame_scores[0] for one in (images, other))
        assert torch.equal(before[:-1], after[:-1]) != bidirectional
        assert not torch.allclose(before[-1], after[-1])


@every_family
@torch.no_grad()
def test_frames_far_apart_are_remembered_together_and_their_order_counts(family: str) -> None:
    model, images = model_of(family, pooling="last", bidirectional=False), sequences(cases=1)
    first = images.clone()
    first[:, :, 0] += 5
    scores, changed, turned = (model.predict(one).scores for one in (images, first, images.flip(2)))
    assert not torch.allclose(changed, scores)
    assert not torch.allclose(turned, scores)


@pytest.mark.parametrize(("task", "scores"), [("single-label", torch.softmax), ("multi-label", None)])
@torch.no_grad()
def test_the_mean_and_the_max_are_those_of_what_the_frames_of_a_case_say(task: str, scores: Any) -> None:
    images, lengths = sequences(), torch.tensor(LENGTHS)
    for pooling in ("mean", "max"):
        model = model_of(task=task, pooling=pooling)
        whole, frames = model._logits(images, lengths)
        own = [case[:length] for case, length in zip(frames, LENGTHS, strict=True)]
        expected = [case.mean(0) if pooling == "mean" else case.max(0).values for case in own]
        torch.testing.assert_close(whole, torch.stack(expected))
        output = model.predict(images[2:3])  # the one that is as long as the batch
        logits = whole[2:3]
        torch.testing.assert_close(output.scores, logits.sigmoid() if scores is None else scores(logits, 1))


@every_family
@torch.no_grad()
def test_each_frame_has_scores_of_its_own(family: str) -> None:
    model = model_of(family)
    output = model.predict(sequences(cases=3, slices=5))
    assert output.frame_scores.shape == (3, 5, len(CLASS_NAMES))
    torch.testing.assert_close(output.frame_scores.sum(2), torch.ones(3, 5))
    assert len({round(float(score), 6) for score in output.frame_scores[0, :, 0]}) == 5


@torch.no_grad()
def test_a_long_sequence_is_encoded_in_parts_and_answered_as_in_one() -> None:
    model, images = model_of(), sequences(cases=2, slices=11)
    with torch.enable_grad():  # all frames at once
        expected, _ = model._logits(images, None)
    torch.testing.assert_close(model._logits(images, None)[0], expected)


def losses_while_learning(model: Any, batch: Batch, steps: int) -> list[float]:
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    found = []
    for _ in range(steps):
        loss = sum(model.loss(batch).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])  # with features as its maps, and with more
def test_a_network_from_timm_learns_to_look_at_frames(name: str) -> None:
    images = sequences(slices=3, side=32)
    images[1::2, :, 1] += 2  # every second one is bright in the middle
    batch = Batch(images, tuple("abcd"), targets=torch.arange(4) % 2, lengths=torch.tensor([3, 3, 2, 2]))
    model = model_of("gru", encoder=name, dropout=0.0)
    losses = losses_while_learning(model, batch, 25)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "ghostnet_050", "efficientvit_b0", "vgg11"])
@torch.no_grad()
def test_any_network_from_timm_gives_as_many_features_as_are_expected(name: str) -> None:
    with torch.device("meta"):  # shapes alone
        built = models.get("lstm")
        model = built.build(built.Settings(encoder=name), Shape("single-label", CLASS_NAMES, 3))
        features = model.encoder.eval()(torch.zeros(2, 3, 224, 224))
    assert features.shape == (2, model.memory.input_size)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": "imagenet"}, r"^model\.weights: the encoder \"small\" always begins anew.*model\.encoder"),
        ({"encoder": "resnet10t", "width": 32}, r"^model\.width: it is for the encoder \"small\".*'resnet10t'"),
        ({"encoder": "resnet81"}, r"^model\.encoder: .*'resnet81'.* Did you mean 'resnet"),
        ({"encoder": "resnet10t", "weights": "imagenet"}, r"^model\.weights: .*Set model\.encoder to that"),
    ],
)
def test_a_setting_that_would_change_nothing_or_is_not_known_is_refused(settings: dict[str, Any], said: str) -> None:
    built = models.get("lstm")
    with pytest.raises(RecipeError, match=said):
        built.build(built.Settings(**settings), Shape("single-label", CLASS_NAMES, 1))


def test_frames_of_another_size_than_the_only_one_are_refused_by_the_encoder() -> None:
    built = models.get("lstm")
    model = built.build(built.Settings(encoder="vit_tiny_patch16_224"), Shape("single-label", CLASS_NAMES, 1))
    said = r"^model\.encoder: 'vit_tiny_patch16_224' takes images of 224 x 224 px alone; found 12 x 12 px"
    with pytest.raises(RecipeError, match=said):
        model.loss(Batch(sequences(), tuple("abcd"), targets=torch.arange(4) % 2))
    with pytest.raises(RecipeError, match=said), torch.no_grad():
        model.eval().predict(sequences())


@pytest.mark.parametrize("encoder", ["small", "test_resnet"])
def test_settings_that_are_written_out_as_they_are_by_default_are_taken(encoder: str) -> None:
    built = models.get("lstm")
    written = RecurrentSettings(encoder=encoder).model_dump()
    assert isinstance(built.build(built.Settings(**written), Shape("single-label", CLASS_NAMES, 1)), nn.Module)
