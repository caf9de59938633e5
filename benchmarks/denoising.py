"""Does a learned denoiser come nearer to the clean image than those one does not train, and does a classifier gain?

    python benchmarks/denoising.py DATA PNEUMONIA_RUN NUCLEI_RUN > table.md

DATA holds `medmnist/pneumoniamnist.npz` and `dsb2018`; the runs are those of the recipes "pneumonia-denoiser" and
"nuclei-denoiser" on them. Every image that is measured on was held out from the denoiser.
"""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_wavelet, estimate_sigma

from overread import pipeline
from overread.bundle_files import bundle_folder, load_bundle
from overread.data.sources import open_data
from overread.evaluation.restoration import NOISE_LEVELS, noise_words, quality_of, restoration_estimates
from overread.image import Image
from overread.inference.predictor import FreshImages
from overread.inference.restoring import TrainedDenoiser
from overread.pipeline.denoisers import load_with_denoisers
from overread.preprocessing.step import prepare
from overread.provenance import seed_for

Pixels = np.ndarray
Denoise = Callable[[Pixels], Pixels]
CLASSIFIED_NOISE, LEARNED_FROM = 0.2, 1500
RECIPE = """
name = "classifier"
[data]
scheme = "official"
validation = 0.0
[[preprocessing.steps]]
step = "min-max"
low = -1.0
[model]
backbone = "resnet10t"
weights = "none"
[training]
epochs = 6
batch_size = 64
learning_rate = 2e-3
keep = "last"
"""


def nl_means(pixels: Pixels) -> Pixels:
    sigma = float(estimate_sigma(pixels))
    return denoise_nl_means(pixels, h=0.8 * sigma, sigma=sigma, patch_size=5, patch_distance=6, fast_mode=True)


def peers(run: Path) -> dict[str, Denoise]:
    """Each takes and gives `(row, column)`; those that need the strength of the noise estimate it from the image."""
    bundle = load_bundle(run)
    ensemble = load_with_denoisers(bundle, bundle_folder(run), device="cpu")
    learned = TrainedDenoiser(ensemble, bundle.bundle_id, bundle.name, frozenset(bundle.seen))
    return {
        "with its noise, as it is": lambda pixels: pixels,
        "learned": lambda pixels: learned(Image(pixels[None])).pixels[0],
        "median 3 x 3": lambda pixels: ndimage.median_filter(pixels, 3, mode="nearest"),
        "non-local means": nl_means,
        "wavelet (BayesShrink)": lambda pixels: denoise_wavelet(pixels, method="BayesShrink", rescale_sigma=True),
    }


def held_out(data: Path, run: Path) -> list[tuple[str, Pixels]]:
    """Case id and prepared pixels `(row, column)` of the images that a run was measured on."""
    with open(run / "predictions.csv", newline="", encoding="utf-8") as file:
        tested = {row["case_id"] for row in csv.DictReader(file)}
    steps, images = load_bundle(run).folds[0].steps, FreshImages()
    cases = [case for case in open_data(data).cases if case.case_id in tested]
    return [(case.case_id, prepare(images.get(case.images[0], ()), steps).pixels[0]) for case in cases]


def with_noise(pixels: Pixels, noise: float, name: str) -> Pixels:
    rng = np.random.default_rng(seed_for("denoising", noise, name))
    return (pixels + rng.standard_normal(pixels.shape) * noise * np.ptp(pixels)).astype(np.float32)


def near_rows(images: Iterable[tuple[str, Pixels]], ways: dict[str, Denoise]) -> None:
    images = list(images)
    print(f"| {len(images)} images | " + " | ".join(noise_words(noise) for noise in NOISE_LEVELS) + " | ms an image |")
    print("| --- |" + " --- |" * (len(NOISE_LEVELS) + 1))
    for name, denoise in ways.items():
        found, seconds = {noise: [] for noise in NOISE_LEVELS}, 0.0
        for noise in NOISE_LEVELS:
            for key, clean in images:
                noisy = with_noise(clean, noise, key)
                started = time.perf_counter()
                restored = denoise(noisy)
                seconds += time.perf_counter() - started
                found[noise].append(quality_of(clean[None], noisy[None], restored[None]))
        columns = {
            noise: {metric: np.array([row[metric] for row in rows]) for metric in rows[0]}
            for noise, rows in found.items()
        }
        estimates = restoration_estimates(columns, [key for key, _ in images])
        told = {(one.metric, one.subgroup): one for one in estimates}
        cells = []
        for noise in NOISE_LEVELS:
            psnr, ssim = told["psnr_db", noise_words(noise)], told["ssim", noise_words(noise)]
            cells.append(f"{psnr.value:.1f} dB, {ssim.value:.3f} ({ssim.low:.3f} to {ssim.high:.3f})")
        ms = 1000 * seconds / (len(NOISE_LEVELS) * len(images))
        print(f"| {name} | " + " | ".join(cells) + f" | {ms:.1f} |", flush=True)


def classified_rows(data: Path, run: Path, folder: Path) -> None:
    """The AUROC of one classifier, each time learned and measured on images that were denoised in one way.

    It is measured on the images that were held out from the denoiser, and learns from some of the others.
    """
    (folder / "classifier.toml").write_text(RECIPE)
    manifest, images, tested = open_data(data), FreshImages(), {key for key, _ in held_out(data, run)}
    others = [case for case in manifest.cases if case.case_id not in tested]
    parts = {
        "train": others[:: len(others) // LEARNED_FROM][:LEARNED_FROM],  # they come class by class
        "val": [case for case in manifest.cases if case.case_id in tested],
    }
    print(f"| {LEARNED_FROM} images to learn from, {len(parts['val'])} to measure | AUROC |\n| --- | --- |")
    for name, denoise in {"without noise": None, **peers(run)}.items():
        arrays: dict[str, Pixels] = {}
        for part, cases in parts.items():
            pixels = []
            for case in cases:
                clean = images.get(case.images[0], ()).pixels[0]
                noisy = as_stored(with_noise(clean, CLASSIFIED_NOISE, case.case_id))
                pixels.append(as_stored(clean if denoise is None else denoise(noisy)))
            arrays[f"{part}_images"] = np.stack(pixels).astype(np.uint8)
            arrays[f"{part}_labels"] = np.array([[manifest.classes.index(case.label)] for case in cases])
        place = folder / name.replace(" ", "-")
        place.mkdir()
        np.savez(place / "pneumoniamnist.npz", **arrays)
        made = pipeline.train(folder / "classifier.toml", place / "pneumoniamnist.npz", place / "run", device="cpu")
        rows = json.loads((made / "evaluation.json").read_text())["estimates"]
        (auroc,) = [row for row in rows if row["metric"] == "auroc" and row["class_name"] is None]
        print(f"| {name} | {auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f}) |", flush=True)


def as_stored(pixels: Pixels) -> Pixels:
    """Whole numbers from 0 to 255, as a file holds them."""
    return np.clip(np.round(pixels), 0, 255).astype(np.float32)


def main() -> None:
    torch.set_num_threads(1)
    data, pneumonia, nuclei = map(Path, sys.argv[1:4])
    chests = data / "medmnist" / "pneumoniamnist.npz"
    print("### Chest radiographs\n")
    near_rows(held_out(chests, pneumonia), peers(pneumonia))
    print("\n### Nuclei\n")
    near_rows(held_out(data / "dsb2018", nuclei), peers(nuclei))
    print(f"\n### A classifier of chest radiographs with {noise_words(CLASSIFIED_NOISE)}\n")
    with tempfile.TemporaryDirectory() as name:
        os.environ["OVERREAD_CACHE"] = str(Path(name) / "cache")
        classified_rows(chests, pneumonia, Path(name))


if __name__ == "__main__":
    main()
