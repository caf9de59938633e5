"""Time and memory of all estimates with intervals: 100,000 cases and 2,000 draws, and 21,000 marks and 1,000 draws."""

import resource
import time

import numpy as np

from overread.evaluation.classification import classification_estimates
from overread.evaluation.localisation import localisation_estimates
from overread.finding import Finding, Mask, Region


def labels(cases: int, classes: int, draws: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(classes, size=cases)
    scores = rng.dirichlet(np.ones(classes), size=cases)
    patients = [f"P{i}" for i in rng.integers(cases, size=cases)]
    start = time.perf_counter()
    rows = classification_estimates(
        truth, scores, [f"class {i}" for i in range(classes)], patients,
        task="single-label", draws=draws, level=0.95, seed=0,
    )  # fmt: skip
    show(f"{cases} cases, {classes} classes, {draws} draws: {len(rows)} estimates", start)


def marks(images: int, each: int, draws: int) -> None:
    rng = np.random.default_rng(0)
    truth: dict[str, list[Finding]] = {}
    predicted: dict[str, list[Finding]] = {}
    for image in range(images):
        spots = rng.integers(0, 500, size=(each, 2))
        truth[f"{image:04d}"] = [Finding("nucleus", disc(*spot, 7)) for spot in spots]
        said = [Finding("nucleus", disc(*spot, int(rng.integers(5, 9))), rng.random()) for spot in spots]
        stray = [Finding("nucleus", disc(*spot, 6), rng.random()) for spot in rng.integers(0, 500, size=(each // 3, 2))]
        predicted[f"{image:04d}"] = said + stray
    start = time.perf_counter()
    rows = localisation_estimates(
        truth, predicted, ["nucleus"], {case: case for case in truth},
        kind="masks", threshold=0.5, draws=draws, level=0.95, seed=0,
    )  # fmt: skip
    what = f"{images * each} true and {sum(map(len, predicted.values()))} predicted marks, {draws} draws"
    show(f"{what}: {len(rows)} estimates", start)


def disc(row: int, column: int, radius: int) -> Region:
    rows, columns = np.ogrid[:512, :512]
    return Region.from_mask(Mask.from_array((rows - row) ** 2 + (columns - column) ** 2 <= radius**2))


def show(what: str, start: float) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what} in {time.perf_counter() - start:.1f} s, peak memory {peak_mb:.0f} MB")


if __name__ == "__main__":
    labels(100_000, 2, 2_000)
    marks(210, 100, 1_000)
