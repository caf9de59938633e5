"""The family that marks single lesions."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from overread.errors import RecipeError
from overread.models.contract import Batch, Shape, Truths
from overread.models.mask_rcnn import MaskRcnn

CLASS_NAMES = ("a", "b", "c", "d", "e")
TINY = {
    "backbone": "test_efficientnet",
    "weights": "none",
    "width": 16,
    "anchors": (8, 16, 32, 64, 96),
    "proposals": 40,
    "sampled_regions": 32,
    "head": 32,
    "mask_layers": 1,
}


def rcnn_of(task="masks", classes: int = 2, **settings: object) -> MaskRcnn:
    torch.manual_seed(0)
    return MaskRcnn.build(MaskRcnn.Settings(**{**TINY, **settings}), Shape(task, CLASS_NAMES[:classes], 1))


def batch_of(boxes: list[list[tuple[int, int, int, int]]], *, task: str = "masks") -> Batch:
    images = 0.05 * torch.randn(len(boxes), 1, 64, 64, generator=torch.Generator().manual_seed(0))
    truths = []
    for image, own in zip(images, boxes, strict=True):
        masks = torch.zeros(len(own), 64, 64, dtype=torch.uint8)
        for number, (left, top, right, bottom) in enumerate(own):
            masks[number, top:bottom, left:right] = 1
            image[0, top:bottom, left:right] += 1 + number
        classes = torch.arange(len(own))
        truths.append(Truths(torch.tensor(own).float().reshape(-1, 4), classes, masks if task == "masks" else None))
    return Batch(images, tuple(f"case-{n}" for n in range(len(boxes))), truths=tuple(truths))


def test_there_are_five_losses_with_masks_and_four_without() -> None:
    common = {"classifier", "box_reg", "objectness", "rpn_box_reg"}
    assert set(rcnn_of("masks").loss(batch_of([[(8, 8, 30, 30)]]))) == common | {"mask"}
    assert set(rcnn_of("boxes").loss(batch_of([[(8, 8, 30, 30)]], task="boxes"))) == common


def test_it_finds_what_it_was_shown_at_its_place_and_of_its_class() -> None:
    boxes = [[(6, 8, 30, 30), (34, 30, 60, 58)], [(20, 20, 44, 46), (2, 50, 20, 64)]]
    model, batch = rcnn_of(), batch_of(boxes)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(70):
        optimiser.zero_grad()
        torch.stack(list(model.loss(batch).values())).sum().backward()
        optimiser.step()
    model.eval()
    with torch.inference_mode():
        answers = model.predict(batch.images).marks
    assert answers is not None
    for marks, own in zip(answers, boxes, strict=True):
        for number, box in enumerate(own):
            best = int(torch.where(marks.classes == number, marks.scores, torch.tensor(-1.0)).argmax())
            assert marks.scores[best] > 0.5
            assert int(marks.classes[best]) == number
            assert overlap(marks.boxes[best], torch.tensor(box).float()) > 0.6
            assert marks.masks is not None
            assert marks.masks[best].mean() > 0.5  # the truth fills its box


def overlap(a: Tensor, b: Tensor) -> float:
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    common = sides.prod()
    return float(common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common))


def test_a_lesion_that_fills_its_box_is_learned_alike_at_its_left_and_right_and_at_its_top_and_bottom() -> None:
    model, logits = rcnn_of(), []
    model.heads.mask_predictor.register_forward_hook(lambda *_: logits.append(_[-1]))
    batch = batch_of([[(9, 12, 45, 50)]])
    loss = model.loss(batch)["mask"]
    (gradient,) = torch.autograd.grad(loss, logits)
    first = gradient[:, 1]  # of class 0; the gradient of binary cross-entropy is the answer less the target
    targets = logits[0][:, 1].detach().sigmoid() - first * first.numel()
    whole = targets[targets.flatten(1).amin(1).argmax()]  # of the region that is the lesion's own box
    assert whole.mean() > 0.9
    torch.testing.assert_close(whole, whole.flip(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(whole, whole.flip(1), atol=1e-4, rtol=0)


def test_what_is_padded_is_never_marked() -> None:
    model = rcnn_of(minimum_score=0.0).eval()
    torch.nn.init.constant_(model.heads.box_predictor.bbox_pred.bias, 8.0)  # every box reaches far to the right
    image = batch_of([[(8, 8, 30, 30)]]).images
    with torch.inference_mode():
        (whole,) = model.predict(image).marks or ()
        (odd,) = model.predict(image[:, :, :50, :37]).marks or ()
    assert whole.boxes[:, 2:].max() == 64
    assert odd.boxes[:, 2].max() == 37
    assert odd.boxes[:, 3].max() == 50


@pytest.mark.parametrize("task", ["boxes", "masks"])
def test_an_answer_does_not_hang_on_the_size_of_the_image_that_was_asked_about_before(task) -> None:
    image = batch_of([[(8, 8, 30, 30)]]).images
    fresh, used = (rcnn_of(task, minimum_score=0.0).eval() for _ in range(2))
    with torch.inference_mode():
        used.predict(image[:, :, :40, :40])
        (expected,), (found,) = fresh.predict(image).marks or (), used.predict(image).marks or ()
    torch.testing.assert_close(found.boxes, expected.boxes)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.masks, expected.masks)


@pytest.mark.parametrize("side", [64, 65, 96, 130])
def test_the_anchors_of_every_level_lie_as_far_apart_as_its_cells(side: int) -> None:
    model, strides = rcnn_of().eval(), []

    def look(_module: torch.nn.Module, given: tuple[ImageList, list[Tensor]]) -> None:
        strides.extend(given[0].tensors.shape[-1] / level.shape[-1] for level in given[1])

    model.rpn.anchor_generator.register_forward_pre_hook(look)
    with torch.inference_mode():
        model.predict(torch.zeros(1, 1, side, side))
    assert strides == [4, 8, 16, 32, 64]


def test_no_more_marks_are_given_than_asked_for_and_none_below_the_minimum() -> None:
    image = batch_of([[(8, 8, 30, 30)]]).images
    with torch.inference_mode():
        (many,) = rcnn_of(minimum_score=0.0).eval().predict(image).marks or ()
        (few,) = rcnn_of(minimum_score=0.0, most_marks=3).eval().predict(image).marks or ()
        (none,) = rcnn_of(minimum_score=0.99).eval().predict(image).marks or ()
    assert len(many.scores) > 3
    torch.testing.assert_close(few.scores, many.scores[:3])
    assert none.boxes.shape == (0, 4)
    assert none.masks is not None
    assert len(none.masks) == 0


def test_marks_of_one_class_that_overlap_much_are_one() -> None:
    image = batch_of([[(8, 8, 30, 30)]]).images
    with torch.inference_mode():
        (marks,) = rcnn_of(minimum_score=0.0, overlap=0.3).eval().predict(image).marks or ()
    for a in range(len(marks.scores)):
        for b in range(a):
            if marks.classes[a] == marks.classes[b]:
                assert overlap(marks.boxes[a], marks.boxes[b]) <= 0.3 + 1e-5


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_frozen_levels_keep_their_weights_and_the_others_learn(levels: int) -> None:
    model = rcnn_of(frozen=levels).train()
    frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
    assert len(frozen) == {0: 0, 1: 2, 2: 4}[levels]  # convolutions; batch norms that are frozen learn nothing at all
    assert all(name.startswith("pyramid.body.") for name in frozen)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.1, weight_decay=0.1)
    torch.stack(list(model.loss(batch_of([[(8, 8, 30, 30)], []])).values())).sum().backward()
    optimiser.step()
    same = {name for name, one in model.named_parameters() if torch.equal(one, before[name])}
    assert same >= frozen
    assert not any(name.endswith("conv_pw.weight") or name.startswith("heads.box_head") for name in same - frozen)


def test_losses_stay_in_full_precision_when_the_network_computes_in_bfloat16() -> None:
    model, batch = rcnn_of(), batch_of([[(8, 8, 30, 30)], []])
    torch.manual_seed(1)
    full = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        half = {name: float(value.detach()) for name, value in model.loss(batch).items()}
    for name, value in full.items():
        assert half[name] == pytest.approx(value, rel=0.1, abs=0.02), name


def test_boxes_and_scores_are_exact_when_the_network_computes_in_bfloat16() -> None:
    image = torch.randn(1, 1, 320, 320, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (marks,) = rcnn_of(minimum_score=0.0).eval().predict(image).marks or ()
    far = marks.boxes[(marks.boxes > 128) & (marks.boxes < 320)]  # where bfloat16 knows whole pixels only
    assert (far.frac() != 0).float().mean() > 0.9
    assert len(marks.scores.unique()) == len(marks.scores)


@pytest.mark.parametrize("name", ["convnext_atto", "test_vit"])
def test_a_network_without_the_five_strides_is_refused_in_words(name: str) -> None:
    with pytest.raises(RecipeError, match=f"model.backbone: .*strides 2, 4, 8, 16 and 32; '{name}' has others"):
        rcnn_of(backbone=name)
