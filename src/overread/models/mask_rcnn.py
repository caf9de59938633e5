"""Mask R-CNN: boxes, classes and masks of single lesions (He et al., ICCV 2017)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from overread.errors import RecipeError
from overread.lean_import import without_compiler
from overread.models.backbones import backbone, freeze
from overread.models.contract import Batch, FamilySettings, Marks, Model, Output, Shape, Truths, models

with without_compiler():
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.models.detection.roi_heads import RoIHeads
    from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
    from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
    from torchvision.ops.poolers import initLevelMapper

_STRIDES = (4, 8, 16, 32, 64)  # of the feature levels; images are padded to a multiple of the last
_CENTRE = 0.5  # of the first pixel, from the image's edge


class _Pyramid(nn.Module):
    """A timm network whose levels of stride 4 to 32 are joined to a feature pyramid (Lin et al., CVPR 2017)."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body = body
        channels: list[int] = cast("Any", body).feature_info.channels()
        self.fpn = FeaturePyramidNetwork(channels, width, extra_blocks=LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        # on a CPU depthwise convolutions of stride 2 learn many times slower in bfloat16; what follows gains from it
        with torch.autocast(images.device.type, enabled=images.device.type != "cpu" and torch.is_autocast_enabled()):
            features = self.body(images)
        levels = OrderedDict((str(level), one) for level, one in enumerate(features))
        joined: dict[str, Tensor] = self.fpn(levels)
        return joined


# Boxes take the precision of what moves them, and bfloat16 knows every second pixel only from 256 on: so both stages
# say in full precision where a box is, and the second one also how sure it is.


class _RpnHead(RPNHead):  # type: ignore[misc]  # torchvision has no types
    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, boxes = super().forward(x)
        return [level.float() for level in scores], [level.float() for level in boxes]


class _BoxPredictor(FastRCNNPredictor):  # type: ignore[misc]  # torchvision has no types
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            scores, boxes = super().forward(x.float())
        return scores, boxes


class _Heads(RoIHeads):  # type: ignore[misc]  # torchvision has no types
    """torchvision's heads, told where pixels lie.

    Boxes here are edges: the centre of the first pixel lies at 0.5. torchvision's RoIAlign puts it at 0, and would
    sample the masks that are to be learned half a pixel off.
    """

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        if targets is not None:
            targets = [{**target, "boxes": target["boxes"] - _CENTRE} for target in targets]
        found, losses = super().forward(features, [boxes - _CENTRE for boxes in proposals], image_shapes, targets)
        return [{**one, "boxes": one["boxes"] + _CENTRE} for one in found], losses

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        edges = [boxes + _CENTRE for boxes in proposals]  # boxes are cut to the image, whose border is an edge
        boxes, scores, labels = super().postprocess_detections(class_logits, box_regression, edges, image_shapes)
        return [one - _CENTRE for one in boxes], scores, labels


@models.add("mask-rcnn")
class MaskRcnn(Model):
    """torchvision's region networks on a timm backbone; without masks it is Faster R-CNN."""

    tasks: ClassVar[tuple[str, ...]] = ("boxes", "masks")

    class Settings(FamilySettings):
        """Settings of the family "mask-rcnn".

        Args:
            backbone: timm's name of the network; it must offer features at strides 4 to 32.
            weights: "imagenet" (packaged, offline), "none", or the path of a weights file.
            frozen: how many of the first feature levels (stride 2, 4) keep the weights they start with, which saves
                time; only sensible with weights that were trained before.
            width: channels of the feature pyramid.
            anchors: sides in pixels of the anchor boxes of each of the five levels (stride 4 to 64).
            ratios: height to width of the anchor boxes.
            proposals: regions that the first stage hands to the second, an image.
            sampled_regions: regions an image that the second stage learns from.
            head: features of the box head.
            mask_layers: convolutions of the mask head, each of `width` channels.
            overlap: boxes of one class that overlap more than this are one (non-maximum suppression).
            minimum_score: marks below this score are not given at all.
            most_marks: given at most, an image.
            sampling: points a cell side that RoIAlign averages.
        """

        backbone: str = "tf_efficientnet_lite0"
        weights: str = "imagenet"
        frozen: Annotated[int, Field(ge=0, le=2)] = 0
        width: Annotated[int, Field(ge=16, le=512)] = 128
        anchors: tuple[float, float, float, float, float] = (16, 32, 64, 128, 256)
        ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
        proposals: Annotated[int, Field(ge=10, le=4000)] = 500
        sampled_regions: Annotated[int, Field(ge=8, le=1024)] = 128
        head: Annotated[int, Field(ge=32, le=2048)] = 512
        mask_layers: Annotated[int, Field(ge=1, le=8)] = 2
        overlap: Annotated[float, Field(gt=0, lt=1)] = 0.5
        minimum_score: Annotated[float, Field(ge=0, lt=1)] = 0.05
        most_marks: Annotated[int, Field(ge=1, le=5000)] = 300
        sampling: Annotated[int, Field(ge=1, le=4)] = 2

    def __init__(self, pyramid: nn.Module, rpn: RegionProposalNetwork, heads: RoIHeads) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.rpn = rpn
        self.heads = heads

    @classmethod
    def build(cls, settings: Settings, shape: Shape, *, pretrained: bool = True) -> Self:
        """A fresh network for this shape of data."""
        body = _body(settings, shape, pretrained=pretrained)
        freeze(body, settings.frozen)
        anchors = AnchorGenerator(tuple((size,) for size in settings.anchors), (settings.ratios,) * 5)
        rpn = RegionProposalNetwork(
            anchors,
            _RpnHead(settings.width, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2 * settings.proposals, "testing": 2 * settings.proposals},
            post_nms_top_n={"training": settings.proposals, "testing": settings.proposals},
            nms_thresh=0.7,
        )
        return cls(_Pyramid(body, settings.width), rpn, _region_heads(settings, shape))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The five losses (four without masks), each a scalar."""
        self.rpn.training = self.heads.training = True  # torchvision's parts change what they return by mode
        targets = [_target(truths) for truths in batch.marks]
        images, features = self._features(batch.images)
        proposals, first = self.rpn(images, features, targets)
        _, second = self.heads(features, proposals, images.image_sizes, targets)
        return {name.removeprefix("loss_"): value for name, value in {**first, **second}.items()}

    def predict(self, images: Tensor) -> Output:
        """Marks of every image."""
        self.rpn.training = self.heads.training = False
        listed, features = self._features(images)
        proposals, _ = self.rpn(listed, features)
        found, _ = self.heads(features, proposals, listed.image_sizes)
        return Output(marks=tuple(_marks(one) for one in found))

    def _features(self, images: Tensor) -> tuple[ImageList, dict[str, Tensor]]:
        rows, columns = images.shape[-2:]
        padded = functional.pad(images, (0, -columns % _STRIDES[-1], 0, -rows % _STRIDES[-1]))
        # box arithmetic does not bear bfloat16
        features = {name: level.float() for name, level in self.pyramid(padded).items()}
        return ImageList(padded, [(rows, columns)] * len(images)), features


def _body(settings: MaskRcnn.Settings, shape: Shape, *, pretrained: bool) -> nn.Module:
    try:
        body = backbone(
            settings.backbone,
            weights=settings.weights,
            channels=shape.channels,
            pretrained=pretrained,
            features_only=True,
            out_indices=(1, 2, 3, 4),
        )
        strides = cast("Any", body).feature_info.reduction()
    except (AttributeError, IndexError, RuntimeError):  # what timm raises for networks without features, or with fewer
        strides = None
    if strides != list(_STRIDES[:4]):
        raise RecipeError(
            f"model.backbone: 'mask-rcnn' needs a network with features at strides 2, 4, 8, 16 and 32; "
            f"'{settings.backbone}' has others. Choose for instance tf_efficientnet_lite0 or resnet18."
        )
    return body


def _align(cells: int, sampling: int) -> MultiScaleRoIAlign:
    """RoIAlign over the first four levels; told their strides, which it would else guess from the first image."""
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=cells, sampling_ratio=sampling)
    pool.scales = [1 / stride for stride in _STRIDES[:4]]
    pool.map_levels = initLevelMapper(2, 5)  # strides are 2 to the power of these
    return pool


def _region_heads(settings: MaskRcnn.Settings, shape: Shape) -> RoIHeads:
    width = settings.width
    masks = {}
    if shape.task == "masks":
        masks = {
            "mask_roi_pool": _align(14, settings.sampling),
            "mask_head": MaskRCNNHeads(width, [width] * settings.mask_layers, dilation=1),
            "mask_predictor": MaskRCNNPredictor(width, width, len(shape.classes) + 1),
        }
    return _Heads(
        _align(7, settings.sampling),
        TwoMLPHead(width * 7 * 7, settings.head),
        _BoxPredictor(settings.head, len(shape.classes) + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=settings.sampled_regions,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=settings.minimum_score,
        nms_thresh=settings.overlap,
        detections_per_img=settings.most_marks,
        **masks,
    )


def _target(truths: Truths) -> dict[str, Tensor]:
    target = {"boxes": truths.boxes, "labels": truths.classes + 1}  # 0 is torchvision's background
    if truths.masks is not None:
        target["masks"] = truths.masks
    return target


def _marks(found: dict[str, Tensor]) -> Marks:
    masks = found.get("masks")
    return Marks(
        boxes=found["boxes"],
        scores=found["scores"],
        classes=found["labels"] - 1,
        masks=None if masks is None else torch.squeeze(masks, 1),
    )
