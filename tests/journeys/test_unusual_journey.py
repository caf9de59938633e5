"""An autoencoder that knows normal images alone, and shows what is not normal in another one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from overread.bundle_files import bundle_folder, load_bundle
from overread.data.manifest import Case, ImageRef
from overread.inference.predictor import FreshImages
from overread.pipeline.denoisers import load_with_denoisers

RECIPE = """
name = "tiny-unusual"
[data]
scheme = "hold-out"
held_out = 0.3
[[preprocessing.steps]]
step = "crop-foreground"
[[preprocessing.steps]]
step = "resize"
height = 32
width = 32
[model]
family = "autoencoder"
width = 8
depth = 3
bottleneck = 4
[training]
epochs = 60
batch_size = 8
learning_rate = 1e-2
[evaluation]
draws = 100
"""


def picture(number: int, *, spot: tuple[int, int] | None = None) -> np.ndarray:
    """A soft bright body in a dark frame, in which a small bright spot is nothing normal."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:56, :70]
    across, down = rng.uniform(13, 16, 2)
    body = 120 * np.exp(-(((rows - 30) / down) ** 4) - ((columns - 38) / across) ** 4)
    pixels = 10 + body + rng.normal(0, 2, (56, 70))
    if spot is not None:
        pixels[spot[0] - 2 : spot[0] + 3, spot[1] - 2 : spot[1] + 3] += 110
    return np.asarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def unusual(overread: Any, journey: Path) -> Path:
    """The run; the ill images of the data set have spots at many places."""
    for number in range(60):
        name = "ill" if number % 3 == 0 else "normal"
        rng = np.random.default_rng(1000 + number)
        spot = (int(rng.integers(22, 38)), int(rng.integers(30, 46))) if name == "ill" else None
        folder = journey / "spots" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, spot=spot)).save(folder / f"{number:02d}.png")
    (journey / "unusual.toml").write_text(RECIPE)
    said = overread("train", journey / "unusual.toml", journey / "spots", "--out", journey / "unusual-run")
    assert said.code == 0, said.err
    return journey / "unusual-run"


def test_what_is_not_normal_is_told_from_what_is(unusual: Path) -> None:
    rows = json.loads((unusual / "evaluation.json").read_text())["estimates"]
    (auroc,) = [row for row in rows if row["metric"] == "auroc" and row["class_name"] is None]
    assert auroc["value"] > 0.9
    assert auroc["low"] is not None


@pytest.mark.parametrize("spot", [(26, 32), (34, 45)])
def test_the_hottest_place_lies_on_the_spot_after_cut_and_resize(
    spot: tuple[int, int], unusual: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new.png"
    Image.fromarray(picture(5000, spot=spot)).save(file)
    bundle = load_bundle(unusual)
    ensemble = load_with_denoisers(bundle, bundle_folder(unusual), device="cpu")
    (answer,) = ensemble.predict([Case("new", "new", (ImageRef(file),))], FreshImages())
    assert answer.heatmap is not None
    assert answer.heatmap.shape == (56, 70)
    row, column = np.unravel_index(answer.heatmap.argmax(), answer.heatmap.shape)
    assert abs(row - spot[0]) <= 3
    assert abs(column - spot[1]) <= 3


def test_the_heat_map_stands_beside_the_image_in_the_reading_and_in_the_report(
    overread: Any, unusual: Path, tmp_path: Path
) -> None:
    Image.fromarray(picture(5001, spot=(28, 36))).save(tmp_path / "new.png")
    said = overread("read", unusual, tmp_path / "new.png", "--out", tmp_path / "read")
    assert said.code == 0, said.err
    for page in (tmp_path / "read" / "report.html", unusual / "report.html"):
        assert ": the heat map" in page.read_text()
        assert "Heat map: bright where the image differs from what the model takes for normal" in page.read_text()
        assert "where the answer comes from" not in page.read_text()
        assert "This model learned from normal images only" in page.read_text()
    assert "not normal (ill in its data) 0." in (tmp_path / "read" / "report.html").read_text()
    with Image.open(tmp_path / "read" / "new.png") as drawn:
        assert drawn.width > 2 * 900


def test_it_learns_from_normal_images_alone_whatever_the_others_show(
    overread: Any, journey: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    short = RECIPE.replace("held_out = 0.3", "held_out = 0.3\nvalidation = 0.0").replace("epochs = 60", "epochs = 3")
    recipe.write_text(
        short.replace("[training]", '[training]\nprecision = "float32"\nmemory_format = "contiguous"\nkeep = "last"')
    )

    def weights_with(changed: str | None) -> dict[str, Any]:
        """The weights after a training in which the images of one class show something else."""
        for number in range(24):
            name = "ill" if number % 3 == 0 else "normal"
            folder = tmp_path / f"{changed}" / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = picture(number)
            if name == changed:
                pixels = 255 - picture(100 + number, spot=(26, 36))
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        run = tmp_path / f"run-{changed}"
        said = overread("train", recipe, tmp_path / f"{changed}", "--out", run, "--device", "cpu")
        assert said.code == 0, said.err
        return load_file(run / "bundle" / "fold-0.safetensors")

    def different(found: dict[str, Any]) -> set[str]:
        return {name for name, value in expected.items() if not value.equal(found[name])}

    expected = weights_with(None)
    assert different(weights_with("ill")) == set()
    assert different(weights_with("normal")) == set(expected)
