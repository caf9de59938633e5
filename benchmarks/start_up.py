"""How long a person waits for the first word: of `overread --help`, and of the reading of one image."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from overread import pipeline
from overread.data.phantom import write_phantom

ROUNDS = 5
GOALS_S = {"overread --help": 0.5, "overread read, one image": 6.0}
RECIPE = """
name = "start-up"
[data]
scheme = "hold-out"
validation = 0.0
[[preprocessing.steps]]
step = "min-max"
[model]
weights = "none"
[training]
epochs = 1
"""


def seconds(*typed: str | Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", "import sys; from overread.cli import main; sys.exit(main())", *typed]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["OVERREAD_CACHE"] = str(folder / "cache")
        data = write_phantom(folder / "ct", patients=12, slices=2, size=64)
        (folder / "recipe.toml").write_text(RECIPE)
        run = pipeline.train(folder / "recipe.toml", data.labels, folder / "run")
        times: dict[str, list[float]] = {name: [] for name in GOALS_S}
        for number in range(ROUNDS):
            times["overread --help"].append(seconds("--help"))
            read = ("read", run, data.images[0], "--out", folder / f"read-{number}")
            times["overread read, one image"].append(seconds(*read))
    for name, found in times.items():
        print(f"{name}: median of {ROUNDS}: {statistics.median(found):.2f} s (goal: {GOALS_S[name]} s)")


if __name__ == "__main__":
    main()
