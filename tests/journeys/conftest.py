"""The command line as a person uses it, and small data sets and runs that several journeys share."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overread.cli import main
from overread.data.phantom import Phantom, write_phantom

CLASSIFIER = """
name = "tiny-cnn"
[data]
folds = 2
validation = 0.0
[[preprocessing.steps]]
step = "min-max"
low = -1.0
[model]
family = "cnn"
weights = "none"
[training]
epochs = 2
batch_size = 8
keep = "last"
precision = "float32"
memory_format = "channels_last"
[evaluation]
draws = 100
"""

MARKER = """
name = "tiny-marks"
[data]
scheme = "hold-out"
held_out = 0.3
validation = 0.3
[[preprocessing.steps]]
step = "min-max"
low = -1.0
[model]
family = "mask-rcnn"
frozen = 1
width = 32
head = 64
anchors = [8, 16, 32, 64, 128]
proposals = 30
sampling = 1
sampled_regions = 32
most_marks = 5
mask_layers = 1
minimum_score = 0.01
[training]
epochs = 12
batch_size = 4
learning_rate = 2e-3
keep = "last"
precision = "float32"
memory_format = "channels_last"
[evaluation]
draws = 100
"""

DENOISER = """
name = "tiny-denoiser"
[data]
truth = "images"
folds = 2
validation = 0.25
[model]
family = "autoencoder"
width = 8
depth = 2
[augmentation]
crop = 32
[training]
epochs = 40
batch_size = 4
learning_rate = 1e-2
[evaluation]
draws = 100
"""


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


Overread = Callable[..., Said]


@pytest.fixture(scope="session")
def overread() -> Overread:
    """The command line in this process: what is typed goes in, exit code and words come out."""

    def typed(*words: object) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(word) for word in words])
            except SystemExit as stop:
                code = int(str(stop.code))
        return Said(code, out.getvalue(), err.getvalue())

    return typed


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """The command line in a process of its own, for what can only be seen from outside."""

    def started(*words: object) -> subprocess.Popen[str]:
        # a shell starts what runs in its background deaf to Ctrl-C; here it is as in front of a person
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from overread.cli import main; sys.exit(main())"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    return started


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is made once; prepared images are kept in it too."""
    folder = tmp_path_factory.mktemp("journey")
    (folder / "cnn.toml").write_text(CLASSIFIER)
    (folder / "marks.toml").write_text(MARKER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERREAD_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="session")
def phantom(journey: Path) -> Phantom:
    """Simulated CT of 12 patients, 3 of them for the test."""
    return write_phantom(journey / "ct", patients=12, slices=3, size=64)


@pytest.fixture(scope="session")
def discs(journey: Path) -> Path:
    """Bright discs, each with its number in a label map: marks that a small network learns in seconds."""
    root = journey / "discs"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    row, column = np.mgrid[:64, :64]
    for number in range(16):
        rng = np.random.default_rng(number)
        pixels, labels = rng.normal(60, 10, (64, 64)), np.zeros((64, 64), np.uint8)
        radius, y, x = rng.integers(9, 13), *rng.integers(14, 50, 2)
        for index, (down, across) in enumerate([(y, x), (63 - y, 63 - x)][: 1 + number % 2]):
            inside = ((row - down) ** 2 + (column - across) ** 2 <= radius**2) & (labels == 0)
            labels[inside] = index + 1
            pixels[inside] += 120
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number:02d}.png")
        Image.fromarray(labels).save(root / "labels" / f"{number:02d}.png")
    return root


@pytest.fixture(scope="session")
def classifier(overread: Overread, journey: Path, phantom: Phantom) -> Path:
    """The run of a tiny classifier, trained on the simulated CT."""
    said = overread("train", journey / "cnn.toml", phantom.labels, "--out", journey / "cnn-run")
    assert said.code == 0, said.err
    return journey / "cnn-run"


@pytest.fixture(scope="session")
def marker(overread: Overread, journey: Path, discs: Path) -> Path:
    """The run of a tiny Mask R-CNN, trained on discs."""
    said = overread("train", journey / "marks.toml", discs, "--out", journey / "marks-run")
    assert said.code == 0, said.err
    return journey / "marks-run"


@pytest.fixture(scope="session")
def restorer(overread: Overread, journey: Path, discs: Path) -> Path:
    """The run of a tiny denoiser, trained on discs whose outlines it does not look at."""
    (journey / "denoiser.toml").write_text(DENOISER)
    said = overread("train", journey / "denoiser.toml", discs, "--out", journey / "denoiser-run")
    assert said.code == 0, said.err
    return journey / "denoiser-run"
