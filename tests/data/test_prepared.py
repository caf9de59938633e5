"""Prepared images on disk: what comes out is what went in, and nothing is decoded twice."""

import multiprocessing
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from overread import io
from overread.data.manifest import Case, ImageRef, Manifest
from overread.data.prepared import PreparedImages, cache_folder
from overread.data.problems import facts_of
from overread.errors import DataChanged, InputError, UnreadableImage
from overread.image import Image
from overread.preprocessing.section import step_from
from overread.preprocessing.step import Step, prepare

CHAIN = (
    step_from({"step": "crop-foreground", "margin_px": 1}),
    step_from({"step": "resize", "height": 24, "width": 24}),
    step_from({"step": "min-max"}),
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is really decoded, in order."""
    real, seen = io.read, []

    def counted(path: Path, *, item: str | None = None) -> Image:
        seen.append(path)
        return real(path, item=item)

    monkeypatch.setattr(io, "read", counted)
    return seen


def png(path: Path, *, seed: int = 0, shape: tuple[int, ...] = (30, 40)) -> ImageRef:
    pixels = np.random.default_rng(seed).integers(0, 60, shape, dtype=np.uint8)
    pixels[8:20, 10:30] += 150
    Pillow.fromarray(pixels).save(path)
    return ImageRef(path)


def ct(path: Path) -> ImageRef:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["a slice"])
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", "4711", "CT"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-100, -50, 12], [1, 0, 0, 0, 0, -1]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.5], 3
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    pixels = np.arange(30 * 40, dtype=np.int16).reshape(30, 40)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 30, 40, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return ImageRef(path)


def assert_equal(found: Image, expected: Image) -> None:
    assert np.array_equal(found.pixels, expected.pixels)
    assert (found.geometry is None) == (expected.geometry is None)
    if found.geometry is not None and expected.geometry is not None:
        assert np.array_equal(found.geometry.affine, expected.geometry.affine)
    assert np.array_equal(found.to_original, expected.to_original)
    for name in ("original_shape", "units", "modality", "source", "history", "window"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize("steps", [(), CHAIN[:1], CHAIN], ids=["as read", "cropped", "whole chain"])
@pytest.mark.parametrize("make", [lambda folder: png(folder / "a.png"), lambda folder: ct(folder / "a.dcm")])
def test_a_kept_image_is_equal_to_one_that_was_just_prepared(
    tmp_path: Path, cache: Path, make: Callable[[Path], ImageRef], steps: tuple[Step, ...]
) -> None:
    ref = make(tmp_path)
    expected = prepare(io.read(ref.path), steps)
    assert_equal(PreparedImages(cache).get(ref, steps), expected)
    assert_equal(PreparedImages(cache).get(ref, steps), expected)


def test_an_image_is_decoded_once_by_this_and_every_later_run(tmp_path: Path, cache: Path, decoded: list[Path]) -> None:
    ref = png(tmp_path / "a.png")
    first = PreparedImages(cache)
    for _ in range(3):
        first.get(ref, CHAIN)
    PreparedImages(cache).get(ref, CHAIN)
    assert decoded == [ref.path]
    first.facts(ref)
    PreparedImages(cache).facts(ref)
    assert decoded == [ref.path] * 2


def test_equal_content_is_one_image_whatever_it_is_called(tmp_path: Path, cache: Path, decoded: list[Path]) -> None:
    first = png(tmp_path / "a.png")
    second = tmp_path / "b.png"
    second.write_bytes(first.path.read_bytes())
    images = PreparedImages(cache)
    made, kept = images.get(first, CHAIN), images.get(ImageRef(second), CHAIN)
    assert np.array_equal(kept.pixels, made.pixels)
    assert decoded == [first.path]
    assert (made.source.name, kept.source.name) == ("a.png", "b.png")


def test_changed_content_is_another_image(tmp_path: Path, cache: Path) -> None:
    ref = png(tmp_path / "a.png", seed=0)
    before = PreparedImages(cache).get(ref, ())
    png(ref.path, seed=1)
    after = PreparedImages(cache).get(ref, ())
    assert not np.array_equal(before.pixels, after.pixels)
    assert np.array_equal(after.pixels, io.read(ref.path).pixels)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([{"step": "resize", "height": 20, "width": 20}], [{"step": "resize", "height": 20, "width": 21}]),
        ([{"step": "min-max"}], [{"step": "min-max"}, {"step": "min-max", "high": 2.0}]),
        (
            [{"step": "min-max"}, {"step": "resize", "factor": 2}],
            [{"step": "resize", "factor": 2}, {"step": "min-max"}],
        ),
        ([{"step": "min-max"}], [{"step": "z-score"}]),
        (
            [{"step": "z-score", "scope": "training", "mean": [1.0], "std": [1.0]}],
            [{"step": "z-score", "scope": "training", "mean": [1.5], "std": [1.0]}],
        ),
    ],
)
def test_another_chain_gives_another_image(tmp_path: Path, cache: Path, first: list, second: list) -> None:
    ref, images = png(tmp_path / "a.png"), PreparedImages(cache)
    for settings in (first, second, first):
        steps = tuple(step_from(one) for one in settings)
        assert_equal(images.get(ref, steps), prepare(io.read(ref.path), steps))


def test_items_of_one_file_are_kept_apart(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, train_images=np.random.default_rng(0).integers(0, 255, (2, 28, 28), dtype=np.uint8))
    images = PreparedImages(cache)
    for number in (0, 1, 0, 1):
        ref = ImageRef(path, f"train_images[{number}]")
        assert np.array_equal(images.get(ref, ()).pixels, io.read(path, item=ref.item).pixels)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def _text(file: Path) -> None:
    file.write_text("[1, 2]")


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut short": _cut,
    "of another kind": _text,
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "a zip": lambda file: file.write_bytes(b"PK\x03\x04" + bytes(30)),
    "one bit changed": _flip,
}


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_made_again(tmp_path: Path, cache: Path, kind: str, suffix: str) -> None:
    ref = png(tmp_path / "a.png")
    expected = PreparedImages(cache).get(ref, CHAIN)
    (file,) = cache.rglob(f"*{suffix}")
    DAMAGE[kind](file)
    assert_equal(PreparedImages(cache).get(ref, CHAIN), expected)
    assert_equal(PreparedImages(cache).get(ref, CHAIN), expected)
    assert len(list(cache.rglob("*.*"))) == 2  # nothing half-written is left


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "one bit changed"])
def test_damaged_facts_are_made_again(tmp_path: Path, cache: Path, kind: str) -> None:
    ref = png(tmp_path / "a.png")
    expected = PreparedImages(cache).facts(ref)
    assert expected == facts_of(ref)
    (file,) = cache.rglob("*.json")
    DAMAGE[kind](file)
    assert PreparedImages(cache).facts(ref) == expected
    assert PreparedImages(cache).facts(ref) == expected


def test_pixels_of_another_entry_are_noticed(tmp_path: Path, cache: Path) -> None:
    first, second = png(tmp_path / "a.png"), png(tmp_path / "b.png", seed=1, shape=(50, 60))
    images = PreparedImages(cache)
    expected = images.get(first, ())
    (own,) = cache.rglob("*.npy")
    images.get(second, ())
    (other,) = (file for file in cache.rglob("*.npy") if file != own)
    own.write_bytes(other.read_bytes())
    assert_equal(images.get(first, ()), expected)


def _work(cache: Path, ref: ImageRef, results: "multiprocessing.Queue[float]") -> None:
    total = 0.0
    for number in range(12):
        steps = (step_from({"step": "min-max", "high": 1.0 + number % 3}),)
        total += float(PreparedImages(cache).get(ref, steps).pixels.sum())
    results.put(total)


def test_two_processes_may_fill_one_folder(tmp_path: Path, cache: Path) -> None:
    ref = png(tmp_path / "a.png")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_work, args=(cache, ref, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    totals = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    _work(tmp_path / "own", ref, results)
    assert totals == {results.get(timeout=10)}
    assert len(list(cache.rglob("*.*"))) == 6


def test_only_the_user_may_look_into_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    PreparedImages(folder).get(png(tmp_path / "a.png"), ())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_folder_is_the_one_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert PreparedImages().folder == tmp_path / "mine"
    monkeypatch.delenv("OVERREAD_CACHE")
    assert cache_folder().name == "overread"


def test_no_file_in_the_folder_tells_a_patient_or_a_place(tmp_path: Path, cache: Path) -> None:
    PreparedImages(cache).get(ct(tmp_path / "slice.dcm"), ())
    PreparedImages(cache).get(png(tmp_path / "Doe-Jane.png"), ())
    for file in cache.rglob("*.*"):
        content = file.read_bytes()
        assert not any(word in content for word in (b"Doe", b"Jane", b"4711", str(tmp_path).encode()))
        assert "slice" not in file.name


def test_a_file_that_cannot_be_read_is_refused_by_name_every_time_and_leaves_nothing(
    tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    images = PreparedImages(cache)
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=r"broken\.png"):
            images.get(ImageRef(path), ())
        with pytest.raises(UnreadableImage, match=r"broken\.png"):
            images.facts(ImageRef(path))
    assert not list(cache.rglob("*.*"))


def test_a_file_that_is_gone_is_refused_by_name_as_any_unreadable_one(tmp_path: Path, cache: Path) -> None:
    images = PreparedImages(cache)
    with pytest.raises(UnreadableImage, match=r"gone\.png: .* no such file"):
        images.get(ImageRef(tmp_path / "gone.png"), ())
    with pytest.raises(UnreadableImage, match=r"gone\.png: .* no such file"):
        images.facts(ImageRef(tmp_path / "gone.png"))


@pytest.mark.parametrize("asked", ["image", "facts"])
@pytest.mark.parametrize("now", ["gone", "another picture", "damaged"])
def test_a_file_that_is_no_longer_what_it_was_is_not_taken_for_what_it_was(
    now: str, asked: str, tmp_path: Path, cache: Path
) -> None:
    ref, images = png(tmp_path / "a.png"), PreparedImages(cache)
    before = images.facts(ref) if asked == "facts" else images.get(ref, ())
    content = ref.path.read_bytes()
    if now == "gone":
        ref.path.unlink()
    elif now == "damaged":
        ref.path.write_bytes(content[:-9])
    else:
        png(tmp_path / "a.png", seed=7, shape=(31, 41))
    with pytest.raises(DataChanged, match=r"a\.png: this file changed, or went away.*Put it back"):
        images.get(ref, ())
    ref.path.write_bytes(content)
    assert np.array_equal(images.get(ref, ()).pixels, PreparedImages(cache).get(ref, ()).pixels)
    assert asked == "facts" or np.array_equal(images.get(ref, ()).pixels, before.pixels)


def manifest_of(**refs: ImageRef) -> Manifest:
    cases = tuple(Case(name, name, (ref,), {"a": True}) for name, ref in refs.items())
    return Manifest("set", "test", "single-label", ("a",), cases)


def test_digests_are_of_pixels_and_leave_out_what_cannot_be_read(tmp_path: Path, cache: Path) -> None:
    first = png(tmp_path / "a.png")
    same = tmp_path / "a.tif"
    Pillow.open(first.path).save(same)
    broken = tmp_path / "c.png"
    broken.write_bytes(b"no image")
    manifest = manifest_of(
        a=first,
        b=ImageRef(same),
        c=ImageRef(broken),
        d=png(tmp_path / "d.png", seed=2),
        e=ImageRef(tmp_path / "gone.png"),
    )
    digests = PreparedImages(cache).digests(manifest)
    assert sorted(digests) == ["a", "b", "d"]
    assert digests["a"] == digests["b"] != digests["d"]


def test_images_of_mixed_kinds_are_refused_with_an_example_each_and_grey_or_colour_mends_them(
    tmp_path: Path, cache: Path
) -> None:
    images = PreparedImages(cache)
    grey, colour = png(tmp_path / "a.png"), png(tmp_path / "b.png", shape=(30, 40, 3))
    assert images.channels(manifest_of(one=grey), ()) == 1
    assert images.channels(manifest_of(two=colour), ()) == 3
    with pytest.raises(InputError, match=r"1 channel.*'one' and 3 channel.*'two'.*'grey'.*'colour'"):
        images.channels(manifest_of(one=grey, two=colour), ())
    mixed, takes_colours, makes = (
        manifest_of(one=grey, two=colour),
        step_from({"step": "grey"}),
        step_from({"step": "colour"}),
    )
    assert images.channels(mixed, (takes_colours,)) == 1
    assert images.channels(mixed, (makes,)) == 3
    assert images.channels(mixed, (makes, takes_colours)) == 1


def test_a_summary_counts_sizes_and_kinds(tmp_path: Path, cache: Path) -> None:
    refs = {f"c{n}": png(tmp_path / f"{n}.png", seed=n, shape=(30 + n // 2, 40)) for n in range(3)}
    colour = png(tmp_path / "rgb.png", shape=(31, 40, 3))
    summary = PreparedImages(cache).summary(manifest_of(**refs, c=colour))
    assert summary == {"image size": "30 x 40 (2), 31 x 40 (2)", "image kind": "grey (3), colour (1)"}
    broken = tmp_path / "x.png"
    broken.write_bytes(b"no image")
    assert PreparedImages(cache).summary(manifest_of(x=ImageRef(broken))) == {}
