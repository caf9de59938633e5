"""Pictures keep their bits, their colours and their way up."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from overread.errors import UnreadableImage
from overread.io import read

RNG = np.random.default_rng(0)


def channel_first(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_every_bit_is_kept(tmp_path: Path, kind: str, shape: tuple[int, ...], dtype: type) -> None:
    array = RNG.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    path = tmp_path / "image"
    if kind == "png":
        path.write_bytes(imagecodecs.png_encode(array))
    else:
        tifffile.imwrite(path, array, photometric="rgb" if len(shape) == 3 else "minisblack")
    image = read(path)
    np.testing.assert_array_equal(image.pixels, channel_first(array))
    assert image.units == "stored"
    assert image.geometry is None
    assert image.history == ()
    assert image.source.sha256 is not None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_opaque_alpha_is_dropped_and_any_other_laid_over_black(tmp_path: Path, channels: int, dtype: type) -> None:
    top = np.iinfo(dtype).max
    array = RNG.integers(0, top, (5, 7, channels)).astype(dtype)
    array[..., -1] = top
    path = tmp_path / "image.png"
    path.write_bytes(imagecodecs.png_encode(array))
    image = read(path)
    np.testing.assert_array_equal(image.pixels, channel_first(array[..., :-1]))
    assert "opaque" in image.history[0]
    array[2, 3, -1] = 0
    path.write_bytes(imagecodecs.png_encode(array))
    image = read(path)
    assert (image.pixels[:, 2, 3] == 0).all()
    assert "over black" in image.history[-1]


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (6, 6, 3)).astype(np.uint8) // 64 * 64
    flat = Pillow.fromarray(colours).quantize(64)
    flat.save(tmp_path / "palette.png")
    image = read(tmp_path / "palette.png")
    np.testing.assert_array_equal(image.pixels, channel_first(np.asarray(flat.convert("RGB"))))
    assert "palette" in image.history[0]


def test_one_bit_is_zero_and_one(tmp_path: Path) -> None:
    bits = RNG.random((6, 9)) < 0.5
    Pillow.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read(tmp_path / "bits.png").pixels[0], bits)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_a_picture_stands_upright_and_says_so(tmp_path: Path, kind: str, orientation: int) -> None:
    from PIL import ImageOps

    picture = Pillow.fromarray(np.arange(64 * 48, dtype=np.uint8).reshape(64, 48))
    path = tmp_path / "image"
    if kind == "tiff":
        tifffile.imwrite(path, np.asarray(picture), extratags=[(274, "H", 1, orientation, True)])
        exif = Pillow.Exif()
        exif[274] = orientation
        picture.save(tmp_path / "same.png", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Pillow.open(tmp_path / "same.png")))
    else:
        exif = Pillow.Exif()
        exif[274] = orientation
        picture.save(path, format=kind, exif=exif)
        with Pillow.open(path) as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened))
    image = read(path)
    np.testing.assert_array_equal(image.pixels[0], expected)
    assert any("upright" in line for line in image.history) == (orientation != 1)


def test_a_tiff_that_counts_from_white_is_turned(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (5, 6)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[0], 255 - array)
    assert "inverted" in image.history[0]


def test_a_second_channel_that_is_no_alpha_is_a_channel(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (5, 6, 2)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig", extrasamples=[0])
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, channel_first(array))


PAGES = RNG.integers(0, 60_000, (4, 5, 6)).astype(np.uint16)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"metadata": None},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
    ],
)
def test_equal_pages_are_the_slices_of_a_volume(tmp_path: Path, how: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", **how)
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, PAGES[None])
    assert image.geometry is None
    assert image.history == ("4 pages in the order of the file",)


def test_pages_written_one_by_one_in_colour_are_slices(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (3, 5, 6, 3)).astype(np.uint8)
    first, *others = (Pillow.fromarray(page) for page in colours)
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, np.moveaxis(colours, -1, 0))
    with tifffile.TiffWriter(tmp_path / "b.tif") as tiff:
        for page in PAGES:
            tiff.write(page, contiguous=False)
    np.testing.assert_array_equal(read(tmp_path / "b.tif").pixels[0], PAGES)


def test_every_page_is_turned_and_inverted_as_it_asks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="miniswhite", extratags=[(274, "H", 1, 3, False)])
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[0], 65535 - PAGES[:, ::-1, ::-1])
    assert image.history[:2] == ("inverted: the file counts from white to black", "turned upright (orientation 3)")


@pytest.mark.parametrize(
    "how",
    [
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "CYX"}},
    ],
)
def test_pages_that_are_channels_are_no_slices(tmp_path: Path, how: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", **how)
    with pytest.raises(UnreadableImage, match="'C'"):
        read(tmp_path / "a.tif")


def test_pages_along_two_axes_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES.reshape(2, 2, 5, 6), photometric="minisblack")
    with pytest.raises(UnreadableImage, match="axes 'QQ'"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("second", "photometric"),
    [(PAGES[0, :4], "minisblack"), (PAGES[0].astype(np.uint8), "minisblack"), (PAGES[0], "miniswhite")],
)
def test_unequal_pages_are_refused(tmp_path: Path, second: np.ndarray, photometric: str) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(PAGES[0], photometric="minisblack", metadata=None)
        tiff.write(second, photometric=photometric, metadata=None)
    with pytest.raises(UnreadableImage, match=r"one size and kind.*2 kinds among 2 pages"):
        read(tmp_path / "a.tif")


def test_a_later_page_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(page) for page in RNG.integers(0, 255, (3, 40, 50)).astype(np.uint8)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        cut = tiff.pages[2].dataoffsets[0] + 100
    (tmp_path / "a.tif").write_bytes(content[:cut])
    with pytest.raises(UnreadableImage):
        read(tmp_path / "a.tif")


def in_a_circle(path: Path) -> Path:
    """A TIFF whose one page names itself as the next."""
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8))
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    after_tags = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    content[after_tags : after_tags + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_a_tiff_whose_pages_run_in_a_circle_is_refused_and_not_followed_for_ever(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="come to an end"):
        read(in_a_circle(tmp_path / "a.tif"))


def test_complex_numbers_are_refused_and_do_not_lose_a_half(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 3 + 4j, np.complex64))
    with pytest.raises(UnreadableImage, match=r"a\.tif.*real numbers; found complex64"):
        read(tmp_path / "a.tif")


def test_a_tiff_that_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), np.nan, dtype=np.float32))
    with pytest.raises(UnreadableImage, match="NaN"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "png16"])
def test_a_picture_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    array = RNG.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    path = tmp_path / "image"
    if kind == "png16":
        path.write_bytes(imagecodecs.png_encode(array.astype(np.uint16) * 257))
    elif kind == "tiff":
        tifffile.imwrite(path, array, photometric="rgb")
    else:
        Pillow.fromarray(array).save(path, format=kind)
    whole = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.97):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UnreadableImage, match="image"):
            read(path)


SCENE = (np.add.outer(np.arange(120) ** 2 // 40, np.arange(160))[..., None] + RNG.integers(0, 60, (120, 160, 3))) % 256
"""(row, column, channel): slopes and noise, so that every block has many codes."""


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    written = io.BytesIO()
    Pillow.fromarray(SCENE.astype(np.uint8)).convert(mode).save(written, "JPEG", **options)
    return written.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_whose_middle_is_missing_is_refused_though_its_end_is_there(
    tmp_path: Path, mode: str, progressive: bool
) -> None:
    whole = jpeg(mode, progressive=progressive)
    third = len(whole) // 3
    zeros = whole[:third] + bytes(third) + whole[2 * third :]
    for damaged in (whole[: 2 * third] + b"\xff\xd9", zeros):
        (tmp_path / "a.jpg").write_bytes(damaged)
        with pytest.raises(UnreadableImage, match=r"a\.jpg.*[Ff]etch it again"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "L"},
        {"quality": 1},
        {"quality": 100, "subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2, "optimize": True},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"keep_rgb": True},
        {"icc_profile": bytes(range(256)) * 300, "comment": b"\xff\xda \xff\xd9"},
        {"mode": "CMYK"},
    ],
    ids=str,
)
def test_good_jpegs_of_every_kind_are_read(tmp_path: Path, options: dict) -> None:
    for behind in (b"", b"\0", b"notes of a camera \xff\xd8\xff"):
        (tmp_path / "a.jpg").write_bytes(jpeg(**options) + behind)
        assert read(tmp_path / "a.jpg").shape == (120, 160)


def test_stray_bytes_between_the_parts_of_a_jpeg_are_passed_over(tmp_path: Path) -> None:
    good = jpeg()
    tables = good.index(b"\xff\xdb")
    (tmp_path / "a.jpg").write_bytes(good[:tables] + b"\x01\x02\x03" + good[tables:])
    (tmp_path / "b.jpg").write_bytes(good)
    assert np.array_equal(read(tmp_path / "a.jpg").pixels, read(tmp_path / "b.jpg").pixels)


def test_a_header_that_announces_too_much_is_refused_before_memory_is_given(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    (tmp_path / "bomb.png").write_bytes(content + chunk(b"IEND", b""))
    with pytest.raises(UnreadableImage, match="3,600,000,000"):
        read(tmp_path / "bomb.png")


def test_a_picture_has_no_items(tmp_path: Path) -> None:
    Pillow.fromarray(np.zeros((3, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match="item"):
        read(tmp_path / "a.png", item="first")


@pytest.mark.data
def test_no_real_jpeg_is_taken_for_a_damaged_one(real_data: Path) -> None:
    assert any(real_data.rglob("*.jpg"))
    for path in sorted(real_data.rglob("*.jpg"))[::5]:
        read(path)


@pytest.mark.data
def test_real_pictures_are_read_as_they_are(real_data: Path) -> None:
    for folder, pattern in (("dsb2018/images", "*.png"), ("bccd/JPEGImages", "*.jpg"), ("dsb2018/labels", "*.png")):
        for path in sorted((real_data / folder).glob(pattern))[::60]:
            with Pillow.open(path) as picture:
                expected = np.asarray(picture)
            np.testing.assert_array_equal(read(path).pixels, channel_first(expected))
