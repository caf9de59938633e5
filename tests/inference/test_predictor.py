"""What networks say about images, in the images' own grids."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from torch import Tensor, nn

from overread.data.extent import Extent
from overread.data.manifest import Case, ImageRef
from overread.data.prepared import PreparedImages
from overread.data.section import AugmentationSection
from overread.errors import DataChanged, RecipeError
from overread.image import Image, Source
from overread.inference.predictor import Ensemble, FreshImages, Network, found_marks
from overread.models.contract import Batch, Marks, Model, Output
from overread.preprocessing.section import step_from
from overread.preprocessing.step import Step, prepare

CLASSES = ("cyst", "stone")
FRAME, BODY, LESION = 0, 60, 240


class Finder(Model):
    """Finds the one bright rectangle on even ground to a part of a pixel."""

    def __init__(self, score: float = 0.9, kind: int = 1) -> None:
        super().__init__()
        self.register_buffer("score", torch.tensor(score))
        self.kind = kind

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"none": self.score * 0}

    def predict(self, images: Tensor) -> Output:
        return Output(marks=tuple(self._marks(image.mean(0).double()) for image in images))

    def _marks(self, image: Tensor) -> Marks:
        shades = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-6)
        hit = (shades > 0.6).nonzero()
        (top, left), (bottom, right) = (hit.amin(0) - 3).clamp(min=0).tolist(), (hit.amax(0) + 3).tolist()
        around = shades[top : bottom + 1, left : right + 1]
        ground = torch.cat([around[0], around[-1], around[:, 0], around[:, -1]]).median()  # the body beside the lesion
        bright = ((shades - ground) / (1 - ground)).clamp(0, 1)
        (left, right), (top, bottom) = (_ends(bright.sum(axis)) for axis in (0, 1))
        box = torch.tensor([[left, top, right, bottom]])
        return Marks(box, self.score[None], torch.tensor([self.kind]), torch.ones(1, 9, 9))


def _ends(profile: Tensor) -> tuple[float, float]:
    """Where a blurred edge has half of its height: the plateau, and what lies beside it."""
    profile = profile / profile.max()
    middle = int((profile > 0.5).nonzero().double().mean().round())
    return middle - float(profile[:middle].sum()), middle + float(profile[middle:].sum())


class Says(Model):
    """Says the same scores of every image, or scores made from its mean."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make = make
        self.drop = nn.Dropout(0.5)
        self.seen: list[tuple[int, ...]] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def predict(self, images: Tensor) -> Output:
        self.seen.append(tuple(images.shape))
        assert not torch.is_grad_enabled()
        ones = self.drop(torch.ones(len(images), len(CLASSES)))
        return Output(scores=ones * torch.stack([self.make(image) for image in images]))


def always(*scores: float) -> Says:
    return Says(lambda image: torch.tensor(scores))


def ensemble(*models: Model, steps: Sequence[Sequence[Step]] = (), task="single-label", **how) -> Ensemble:
    chains = steps or [()] * len(models)
    networks = tuple(Network(model, tuple(chain)) for model, chain in zip(models, chains, strict=True))
    return Ensemble(networks, task, CLASSES, **{"channels": 1, "bundle_id": "bundle-1", **how})


def case_of(path: Path) -> Case:
    return Case(path.stem, path.stem, (ImageRef(path),))


def save(path: Path, pixels: np.ndarray) -> Case:
    Pillow.fromarray(pixels.astype(np.uint8)).save(path)
    return case_of(path)


def plain(shape: tuple[int, ...], mean: int) -> np.ndarray:
    """An image with this mean that is not quite even."""
    pixels = np.full(shape, mean)
    pixels.flat[0] += 1
    pixels.flat[-1] -= 1
    return pixels


def scene(
    shape: tuple[int, int], body: tuple[int, int, int, int], lesion: tuple[int, int, int, int] | None
) -> np.ndarray:
    """A dark frame, a body in it, and a bright rectangle in the body; all as (left, top, right, bottom)."""
    pixels = np.full(shape, FRAME)
    pixels[body[1] : body[3], body[0] : body[2]] = BODY
    if lesion is not None:
        pixels[lesion[1] : lesion[3], lesion[0] : lesion[2]] = LESION
    return pixels


CROP = {"step": "crop-foreground", "percentile": 0}
STRETCH = {"step": "min-max"}
CHAINS = [
    [STRETCH],
    [CROP, STRETCH],
    [{"step": "resize", "height": 128, "width": 160}, STRETCH],
    [CROP, {"step": "resize", "height": 100, "width": 90}, STRETCH],
    [CROP, {"step": "resize", "factor": 1.7, "longest": 300}, STRETCH],
    [{"step": "resize", "factor": 3.0}, CROP, STRETCH],
    [
        STRETCH,
        {"step": "resize", "factor": 0.8},
        CROP,
        {"step": "resize", "height": 111, "width": 97},
        {"step": "z-score"},
    ],
]


@settings(max_examples=40, deadline=None)
@given(
    chain=st.sampled_from(CHAINS),
    body=st.tuples(st.integers(3, 25), st.integers(3, 25), st.integers(60, 90), st.integers(60, 90)),
    lesion=st.tuples(st.integers(5, 33), st.integers(5, 33), st.integers(8, 22), st.integers(8, 22)),
    frame=st.integers(2, 30),
)
def test_a_mark_lies_on_its_lesion_in_the_grid_of_the_file(tmp_path_factory, chain, body, lesion, frame) -> None:
    left, top, width, height = body
    x, y = left + lesion[0], top + lesion[1]
    truth = (x, y, x + lesion[2], y + lesion[3])
    pixels = scene((top + height + frame, left + width + frame), (left, top, left + width, top + height), truth)
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    steps = [step_from(step) for step in chain]
    (found,) = ensemble(Finder(), steps=[steps], task="masks").predict([save(path, pixels)], FreshImages())
    assert found.refused is None
    (finding,) = found.findings
    assert finding.label == "stone"
    assert finding.score == pytest.approx(0.9)
    assert finding.region is not None
    np.testing.assert_allclose(finding.region.box, truth, atol=0.25)
    assert finding.region.mask is not None
    mask = finding.region.mask.to_array()
    assert mask.shape == pixels.shape
    inner, outer = (np.zeros(pixels.shape, dtype=bool) for _ in range(2))
    inner[truth[1] + 1 : truth[3] - 1, truth[0] + 1 : truth[2] - 1] = True
    outer[truth[1] - 1 : truth[3] + 1, truth[0] - 1 : truth[2] + 1] = True
    assert (mask | ~inner).all()
    assert (outer | ~mask).all()
    assert mask.sum() == pytest.approx(lesion[2] * lesion[3], rel=0.2)


def test_through_a_crop_alone_box_and_mask_are_exact(tmp_path: Path) -> None:
    pixels = scene((70, 90), (11, 9, 80, 65), (30, 20, 47, 41))
    steps = [step_from(CROP), step_from(STRETCH)]
    (found,) = ensemble(Finder(), steps=[steps], task="masks").predict(
        [save(tmp_path / "a.png", pixels)], FreshImages()
    )
    (finding,) = found.findings
    assert finding.region is not None
    assert finding.region.box == pytest.approx((30, 20, 47, 41), abs=1e-6)
    assert finding.region.mask is not None
    assert np.array_equal(finding.region.mask.to_array(), pixels == LESION)


def test_folds_that_prepare_differently_mark_the_same_place(tmp_path: Path) -> None:
    pixels = scene((80, 90), (10, 10, 80, 70), (30, 20, 50, 40))
    chains = [[step_from(step) for step in chain] for chain in CHAINS]
    models = [Finder(score=0.4 + 0.1 * number) for number in range(len(chains))]
    asked = ensemble(*models, steps=chains, task="masks")
    (found,) = asked.predict([save(tmp_path / "a.png", pixels)], FreshImages())
    (finding,) = found.findings
    assert finding.score == pytest.approx(np.mean([0.4 + 0.1 * n for n in range(len(chains))]))
    assert finding.region is not None
    np.testing.assert_allclose(finding.region.box, (30, 20, 50, 40), atol=0.5)


def test_what_is_marked_in_the_padding_is_no_finding(tmp_path: Path) -> None:
    class InTheCorner(Finder):
        def _marks(self, image: Tensor) -> Marks:
            boxes = torch.tensor([[0.0, 0.0, 60.0, 9.0], [10.0, 5.0, 20.0, 30.0]])
            return Marks(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]))

    steps = [step_from({"step": "resize", "height": 60, "width": 60})]  # 20 rows of padding above and below
    ref = save(tmp_path / "a.png", np.arange(200).reshape(10, 20).repeat(3, 0).repeat(3, 1)[:20, :60])
    (found,) = ensemble(InTheCorner(), steps=[steps], task="boxes").predict([ref], FreshImages())
    (finding,) = found.findings
    assert finding.label == "stone"
    assert finding.region is not None
    assert finding.region.box == (10, 0, 20, 10)


class Outlines(Finder):
    """Marks one box whose mask fills the seventh tenth of its rows and the first fifth of its columns."""

    def _marks(self, image: Tensor) -> Marks:
        cells = torch.zeros(1, 20, 20)
        cells[0, 12:14, :4] = 1
        return Marks(torch.tensor([[10.0, 5.0, 30.0, 45.0]]), torch.tensor([0.9]), torch.tensor([1]), cells)


def test_a_mask_keeps_its_size_where_its_box_reaches_into_the_padding(tmp_path: Path) -> None:
    steps = [step_from({"step": "resize", "height": 60, "width": 60})]  # 20 rows of padding above and below
    ref = save(tmp_path / "a.png", np.arange(1200).reshape(20, 60) % 250)
    for picture in (Outlines(), Outlines()), (Outlines(),):
        (found,) = ensemble(*picture, steps=[steps] * len(picture), task="masks").predict([ref], FreshImages())
        (finding,) = found.findings
        assert finding.region is not None
        assert finding.region.box == pytest.approx((10, 0, 30, 20))  # cut to the image
        assert finding.region.mask is not None
        assert finding.region.mask.box == (10, 9, 14, 13)


class TopLeft(Finder):
    """As the finder, with a mask that fills what it sees as the top left quarter of the box."""

    def _marks(self, image: Tensor) -> Marks:
        marks = super()._marks(image)
        cells = torch.zeros(1, 10, 10)
        cells[0, :5, :5] = 1
        return Marks(marks.boxes, marks.scores, marks.classes, cells)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_what_is_marked_on_images_in_all_poses_is_one_mark_each_where_it_lies(tmp_path: Path, batch_size: int) -> None:
    boxes = [(20, 6, 36, 12), (8, 10, 14, 24)]
    refs = []
    for number, (left, top, right, bottom) in enumerate(boxes):
        pixels = plain((30, 44), BODY)
        pixels[top:bottom, left:right] = LESION
        refs.append(save(tmp_path / f"{number}.png", pixels))
    asked = ensemble(TopLeft(0.8), task="masks", mirrored=True, turned=True, batch_size=batch_size)
    for box, found in zip(boxes, asked.predict(refs, FreshImages()), strict=True):
        (finding,) = found.findings
        assert finding.region is not None
        assert finding.region.box == pytest.approx(box, abs=0.01)
        assert finding.score == pytest.approx(0.8)
        assert finding.region.mask is not None
        assert (
            finding.region.mask.area_px == 1
        )  # every quarter was seen in two of eight: only the likeliest pixel is left


class Left(Finder):
    """Marks only what is in the left half of an image."""

    def _marks(self, image: Tensor) -> Marks:
        marks = super()._marks(image)
        here = marks.boxes[:, 2] <= image.shape[1] / 2
        return Marks(marks.boxes[here], marks.scores[here], marks.classes[here])


def test_what_is_marked_on_the_mirror_image_alone_counts_half(tmp_path: Path) -> None:
    pixels = plain((30, 44), BODY)
    pixels[6:12, 30:40] = LESION
    ref = save(tmp_path / "a.png", pixels)
    (plainly,) = ensemble(Left(0.8), task="boxes").predict([ref], FreshImages())
    (mirrored,) = ensemble(Left(0.8), task="boxes", mirrored=True).predict([ref], FreshImages())
    assert not plainly.findings
    (finding,) = mirrored.findings
    assert finding.score == pytest.approx(0.4)
    assert finding.region is not None
    assert finding.region.box == pytest.approx((30, 6, 40, 12), abs=0.01)


def test_a_turned_reading_says_the_same_of_an_image_however_it_lies(tmp_path: Path) -> None:
    pixels = np.full((12, 20), 10)
    pixels[:6, :10] = 250
    refs = [save(tmp_path / f"{turns}.png", np.rot90(pixels, turns)) for turns in range(4)]

    def corner(image: Tensor) -> Tensor:
        rows, columns = (side // 2 for side in image.shape[-2:])
        return torch.stack([image[..., :rows, :columns].mean() / 255, image.mean() / 255])

    scores = [one.scores["cyst"] for one in ensemble(Says(corner), turned=True).predict(refs, FreshImages())]
    assert scores == pytest.approx([(250 + 3 * 10) / 4 / 255] * 4)
    (plainly, *_) = ensemble(Says(corner)).predict(refs, FreshImages())
    assert plainly.scores["cyst"] == pytest.approx(250 / 255)


class OnlyUpright(Says):
    """Answers to images whose first row is dark, and gives no number for others."""

    def __init__(self) -> None:
        super().__init__(lambda image: torch.full((2,), 0.5 if float(image[:, 0].max()) < 20 else float("nan")))


def test_an_answer_that_is_no_number_in_one_view_is_no_answer(tmp_path: Path) -> None:
    pixels = np.full((12, 20), 10)
    pixels[8:, 5:15] = 250
    ref = save(tmp_path / "a.png", pixels)
    (plainly,) = ensemble(OnlyUpright()).predict([ref], FreshImages())
    (turned,) = ensemble(OnlyUpright(), turned=True).predict([ref], FreshImages())
    assert plainly.refused is None
    assert turned.refused is not None
    assert "not a number" in turned.refused


class Undecided(Finder):
    """Calls one place by both classes."""

    def _marks(self, image: Tensor) -> Marks:
        boxes = torch.tensor([[10.0, 5.0, 30.0, 15.0], [10.0, 5.0, 30.0, 16.0]])
        return Marks(boxes, torch.tensor([0.6, 0.5]), torch.tensor([1, 0]))


def test_one_place_is_one_lesion_where_a_recipe_says_that_it_has_one_class(tmp_path: Path) -> None:
    ref = save(tmp_path / "a.png", np.arange(1200).reshape(20, 60) % 250)
    (both,) = ensemble(Undecided(), task="boxes").predict([ref], FreshImages())
    (one,) = ensemble(Undecided(), task="boxes", one_class_a_place=True).predict([ref], FreshImages())
    assert len(both.findings) == 2
    assert one.findings == both.findings[:1]


def test_a_mask_is_mirrored_back_with_its_image() -> None:
    pixels = np.arange(50 * 60, dtype=np.float32).reshape(1, 50, 60)
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 59
    mirrored = Image(pixels).with_pixels(pixels[:, :, ::-1], by="mirror", index_map=mirror)
    (mark,) = found_marks(Outlines()._marks(torch.zeros(1)), mirrored)
    assert mark.box == (30, 5, 50, 45)
    assert mark.mask is not None
    assert np.argwhere(mark.mask.any(0)).ravel().tolist() == [16, 17, 18, 19]
    assert np.argwhere(mark.mask.any(1)).ravel().tolist() == [12, 13]


def test_an_image_that_goes_away_while_it_is_worked_with_is_no_refusal_but_an_error(tmp_path: Path) -> None:
    cases, images = [save(tmp_path / f"{n}.png", plain((8, 8), n + 1)) for n in range(3)], PreparedImages(tmp_path)
    asked = ensemble(always(0.2, 0.8))
    assert [one.refused for one in asked.predict(cases, images)] == [None, None, None]
    cases[1].images[0].path.unlink()
    with pytest.raises(DataChanged, match=r"1\.png"):
        list(asked.predict(cases, images))


def test_an_image_that_cannot_be_read_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    refs = [save(tmp_path / f"{n}.png", plain((8, 8), n + 1)) for n in range(5)]
    refs[1].images[0].path.write_bytes(b"no image at all")
    refs[3].images[0].path.unlink()
    found = list(ensemble(always(0.2, 0.8)).predict(refs, FreshImages()))
    assert [one.case_id for one in found] == ["0", "1", "2", "3", "4"]
    assert [one.refused is None for one in found] == [True, False, True, False, True]
    assert str(found[1].refused).startswith("expected an image (")  # its name stands beside it
    assert "no such file" in str(found[3].refused)
    for one in (found[1], found[3]):
        assert one.findings == ()
        assert one.scores == {}
    assert {one.bundle_id for one in found} == {"bundle-1"}


def test_a_blank_image_has_no_answer(tmp_path: Path) -> None:
    (found,) = ensemble(always(0.2, 0.8)).predict([save(tmp_path / "a.png", np.full((8, 8), 9))], FreshImages())
    assert "are equal, so that they show nothing" in str(found.refused)
    assert found.scores == {}


def test_an_image_that_its_preprocessing_makes_blank_has_no_answer(tmp_path: Path) -> None:
    dark = save(tmp_path / "a.png", np.arange(64).reshape(8, 8) % 7)
    window = [step_from({"step": "window", "centre": 200, "width": 50, "units": "stored"})]
    (found,) = ensemble(always(0.2, 0.8), steps=[window]).predict([dark], FreshImages())
    assert "are equal, so that they show nothing" in str(found.refused)


def test_through_the_cache_it_is_refused_alike(tmp_path: Path) -> None:
    refs = [save(tmp_path / f"{n}.png", plain((8, 8), n + 1)) for n in range(3)]
    refs.append(save(tmp_path / "blank.png", np.full((8, 8), 9)))
    refs[0].images[0].path.write_bytes(b"no image at all")
    refs[1].images[0].path.unlink()
    fresh = list(ensemble(always(0.2, 0.8)).predict(refs, FreshImages()))
    kept = list(ensemble(always(0.2, 0.8)).predict(refs, PreparedImages(tmp_path / "cache")))
    assert [one.refused for one in fresh] == [one.refused for one in kept]
    assert [one.refused is None for one in kept] == [False, False, True, False]


class OfOneSize(Says):
    """A network for images of 8 x 8 px, as those are that cut an image into so many parts."""

    def predict(self, images: Tensor) -> Output:
        if images.shape[-2:] != (8, 8):
            raise RecipeError("model.backbone: it takes images of 8 x 8 px alone.")
        return super().predict(images)


def test_an_image_of_a_size_that_the_network_does_not_take_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    refs = [save(tmp_path / f"{n}.png", plain((8, 8 + n % 2), n + 1)) for n in range(4)]
    found = list(ensemble(OfOneSize(always(0.2, 0.8).make)).predict(refs, FreshImages()))
    assert [one.refused is None for one in found] == [True, False, True, False]
    assert found[1].refused == "this image does not fit the model. model.backbone: it takes images of 8 x 8 px alone."


def test_an_image_that_one_fold_cannot_prepare_has_no_answer_of_the_others(tmp_path: Path) -> None:
    ref, other = save(tmp_path / "a.png", plain((8, 8), 9)), save(tmp_path / "b.png", plain((8, 8), 9))
    refusing = [step_from({"step": "window", "centre": 40, "width": 400})]  # meant in HU
    asked = ensemble(always(0.2, 0.8), always(0.2, 0.8), steps=[(), refusing])
    for one in asked.predict([ref, other], FreshImages()):
        assert str(one.refused).startswith("CT in Hounsfield units is needed, as DICOM gives them; this file's numbers")
        assert one.scores == {}


@pytest.mark.parametrize(
    ("channels", "shape", "words"),
    [(1, (8, 8, 3), "grey images; this is a colour image"), (3, (8, 8), "colour images; this is a grey image")],
)
def test_an_image_of_other_channels_is_refused_in_words(tmp_path: Path, channels: int, shape, words: str) -> None:
    refs = [save(tmp_path / "wrong.png", plain(shape, 5))]
    refs.append(save(tmp_path / "right.png", plain((8, 8) if channels == 1 else (8, 8, 3), 5)))
    wrong, right = ensemble(always(0.2, 0.8), channels=channels).predict(refs, FreshImages())
    assert right.refused is None
    assert wrong.refused is not None
    advice = "Use a model for such images, or one trained with the step 'grey', which takes both."
    assert wrong.refused == f"this model was trained on {words}. {advice}"


class Held:
    """Images that are at hand."""

    def __init__(self, **images: Image) -> None:
        self.images = images

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        return prepare(self.images[ref.path.stem], steps)


def test_an_image_of_another_size_than_was_learned_from_is_no_label(tmp_path: Path) -> None:
    sizes = [(28, 28), (42, 28), (19, 28), (43, 28), (18, 28), (224, 224)]
    cases = [save(tmp_path / f"{number}.png", plain(size, 90)) for number, size in enumerate(sizes)]
    asked = ensemble(always(0.3, 0.7), extent=Extent(sides=(28, 28), slices=(1, 1)))
    found = list(asked.predict(cases, FreshImages()))
    assert [one.refused is None for one in found] == [True, True, True, False, False, False]
    assert "224 x 224 px; what it learned from had sides of 28 px" in str(found[-1].refused)
    assert "'resize'" in str(found[-1].refused)
    assert all(one.refused is None for one in ensemble(always(0.3, 0.7)).predict(cases, FreshImages()))


def test_a_step_that_resizes_makes_images_of_any_size_fit(tmp_path: Path) -> None:
    case = save(tmp_path / "large.png", plain((224, 200), 90))
    steps = [(step_from({"step": "resize", "height": 28, "width": 28}),)]
    (found,) = ensemble(always(0.3, 0.7), steps=steps, extent=Extent(sides=(28, 28), slices=(1, 1))).predict(
        [case], FreshImages()
    )
    assert found.refused is None
    assert found.doubt is None


def test_marks_in_an_image_of_another_size_are_given_with_the_doubt(tmp_path: Path) -> None:
    cases = [save(tmp_path / "large.png", plain((224, 224), 90)), save(tmp_path / "usual.png", plain((30, 28), 90))]
    asked = ensemble(Finder(), task="masks", extent=Extent(sides=(28, 28), slices=(1, 1)))
    large, usual = asked.predict(cases, FreshImages())
    assert (large.refused, usual.refused) == (None, None)
    assert "224 x 224 px" in str(large.doubt)
    assert usual.doubt is None


def test_a_volume_is_refused_in_words() -> None:
    volume = Image(np.zeros((1, 4, 8, 8), dtype=np.float32), source=Source("scan.nii"))
    (found,) = ensemble(always(0.2, 0.8)).predict([case_of(Path("v"))], Held(v=volume))
    assert found.refused is not None
    assert "this is a volume or a sequence of 4 slices" in found.refused


@pytest.mark.parametrize("name", ["OBXXXX1A.dcm", "1.3.46.670589.5.2", "DICOM 0123456789ab"])
def test_a_refusal_names_the_image_neither_by_its_file_nor_by_its_uid(name: str) -> None:
    image = Image(np.zeros((1, 8, 8), dtype=np.float32), source=Source(name))
    window = [step_from({"step": "window", "centre": 40, "width": 400})]
    case = case_of(Path("OBXXXX1A.dcm"))
    (found,) = ensemble(always(0.2, 0.8), steps=[window]).predict([case], Held(OBXXXX1A=image))
    assert str(found.refused).startswith("CT in Hounsfield units is needed")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_a_refusal_and_never_a_finding(bad: float) -> None:
    shades = np.eye(8, dtype=np.float32)[None]
    images = {name: Image(value + shades) for name, value in (("a", 1), ("b", 2))}
    refs = [case_of(Path(name)) for name in images]
    labels = Says(lambda image: torch.tensor([0.5, bad if image.mean() > 2 else 0.5]))
    good, wrong = ensemble(always(0.1, 0.9), labels).predict(refs, Held(**images))
    assert good.refused is None
    assert "not a number" in str(wrong.refused)
    assert wrong.scores == {}

    class Bad(Finder):
        def _marks(self, image: Tensor) -> Marks:
            box = torch.tensor([[1.0, 1.0, 5.0, bad if image.mean() > 1.5 else 5.0]])
            return Marks(box, torch.tensor([0.9]), torch.tensor([0]))

    good, wrong = ensemble(Bad(), task="boxes").predict(refs, Held(**images))
    assert len(good.findings) == 1
    assert "not a number" in str(wrong.refused)
    assert wrong.findings == ()


def test_a_mirrored_reading_says_the_same_of_an_image_and_its_mirror_image(tmp_path: Path) -> None:
    left = Says(lambda image: torch.stack([image[..., :4].mean(), 1 - image[..., :4].mean()]) / 255)  # of its left half
    pixels = np.tile(np.arange(8) * 30, (8, 1))
    refs = [save(tmp_path / "one.png", pixels), save(tmp_path / "other.png", pixels[:, ::-1])]
    plainly = [one.scores["cyst"] for one in ensemble(left).predict(refs, FreshImages())]
    assert plainly == pytest.approx([45 / 255, 165 / 255])
    mirrored = [one.scores["cyst"] for one in ensemble(left, mirrored=True).predict(refs, FreshImages())]
    assert mirrored == pytest.approx([105 / 255, 105 / 255])


def test_views_are_averaged_and_are_the_same_whoever_is_asked_about_with_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refs = [save(tmp_path / f"{n}.png", rng.integers(0, 255, (16, 16))) for n in range(3)]
    left = Says(lambda image: torch.stack([image[..., :8].mean() / 255, image[..., 8:].mean() / 255]))
    moves = AugmentationSection(shift=0.3)
    once, again = (
        [one.scores["cyst"] for one in ensemble(left, views=5, augmentation=moves).predict(some, FreshImages())]
        for some in (refs, refs[::-1])
    )
    assert once == pytest.approx(again[::-1], abs=1e-6)
    assert sum(shape[0] for shape in left.seen) == 2 * len(refs) * (1 + 5)
    assert max(shape[0] for shape in left.seen) <= 16  # a batch, however many views
    plainly = [one.scores["cyst"] for one in ensemble(left).predict(refs, FreshImages())]
    assert all(abs(a - b) > 0.01 for a, b in zip(plainly, once, strict=True))
    for precision in ("float32", "bf16"):  # a model may be asked in bfloat16; where its image lies never is
        asked = ensemble(left, views=5, augmentation=moves, precision=precision)
        (alone,) = asked.predict(refs[1:2], FreshImages())
        assert alone.scores["cyst"] == pytest.approx(once[1], abs=1e-5)


def test_views_that_vary_nothing_change_nothing(tmp_path: Path) -> None:
    ref = save(tmp_path / "a.png", plain((8, 8), 9))
    (found,) = ensemble(always(0.2, 0.8), views=3).predict([ref], FreshImages())
    assert found.scores == pytest.approx({"cyst": 0.2, "stone": 0.8})


def test_the_scores_of_the_folds_are_averaged(tmp_path: Path) -> None:
    asked = ensemble(always(0.2, 0.8), always(0.6, 0.4), always(0.1, 0.9))
    (found,) = asked.predict([save(tmp_path / "a.png", plain((8, 8), 9))], FreshImages())
    assert found.scores == pytest.approx({"cyst": 0.3, "stone": 0.7})
    (finding,) = found.findings
    assert (finding.label, finding.region) == ("stone", None)
    assert finding.score == pytest.approx(0.7)


def test_every_fold_sees_the_image_as_its_own_steps_prepare_it(tmp_path: Path) -> None:
    chains = [
        [step_from({"step": "z-score", "scope": "training", "mean": [mean], "std": [10.0]})] for mean in (50, 50, 90)
    ]

    def share(image: Tensor) -> Tensor:
        return torch.tensor([1 - image.mean() / 10, image.mean() / 10])

    asked = ensemble(Says(share), Says(share), Says(share), steps=chains)
    ref = save(tmp_path / "a.png", plain((8, 8), 100))
    (found,) = asked.predict([ref], FreshImages())
    assert found.scores["stone"] == pytest.approx((0.5 + 0.5 + 0.1) / 3)


@pytest.mark.parametrize(
    ("task", "scores", "labels"),
    [
        ("single-label", (0.45, 0.55), ["stone"]),
        ("multi-label", (0.5, 0.7), ["cyst", "stone"]),
        ("multi-label", (0.49, 0.7), ["stone"]),
        ("multi-label", (0.1, 0.2), []),
    ],
)
def test_what_is_stated_is_the_one_class_or_all_that_are_likely(tmp_path: Path, task, scores, labels) -> None:
    ref = save(tmp_path / "a.png", plain((8, 8), 9))
    (found,) = ensemble(always(*scores), task=task).predict([ref], FreshImages())
    assert [finding.label for finding in found.findings] == labels
    assert found.scores == pytest.approx(dict(zip(CLASSES, scores, strict=True)))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_images_of_any_sizes_are_answered_in_the_order_they_were_given(tmp_path: Path, batch_size: int) -> None:
    sizes = [(8, 8), (8, 9), (8, 8), (7, 7), (8, 9), (8, 8), (9, 9)]
    refs = [save(tmp_path / f"{n}.png", plain(size, 10 * n + 10)) for n, size in enumerate(sizes)]
    model = Says(lambda image: torch.tensor([1 - image.mean() / 100, image.mean() / 100]))
    found = list(ensemble(model, batch_size=batch_size).predict(refs, FreshImages()))
    assert [one.case_id for one in found] == [case.case_id for case in refs]
    assert [one.scores["stone"] for one in found] == pytest.approx([(n + 1) / 10 for n in range(len(sizes))])
    assert all(shape[0] <= batch_size for shape in model.seen)
    assert sum(shape[0] for shape in model.seen) == len(sizes)


def test_answers_come_while_later_images_are_not_yet_read(tmp_path: Path) -> None:
    refs = [save(tmp_path / f"{n}.png", plain((8, 8), n + 1)) for n in range(4)]
    model = always(0.2, 0.8)
    answers = ensemble(model, batch_size=2).predict(refs, FreshImages())
    next(answers)
    assert len(model.seen) == 1


def test_a_model_that_was_left_in_training_answers_as_in_use(tmp_path: Path) -> None:
    model = always(0.2, 0.8)
    model.train()
    ref = save(tmp_path / "a.png", plain((8, 8), 9))
    (found,) = ensemble(model).predict([ref], FreshImages())
    assert found.scores == pytest.approx({"cyst": 0.2, "stone": 0.8})  # dropout would double or drop them


def test_nothing_found_is_an_answer_and_not_a_refusal(tmp_path: Path) -> None:
    class Blind(Finder):
        def _marks(self, image: Tensor) -> Marks:
            return Marks(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 9, 9))

    (found,) = ensemble(Blind(), task="masks").predict([save(tmp_path / "a.png", plain((20, 20), 9))], FreshImages())
    assert found.refused is None
    assert found.findings == ()
    assert list(ensemble(Blind(), task="masks").predict([], FreshImages())) == []
