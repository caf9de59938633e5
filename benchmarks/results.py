"""Every family on three public data sets, out of fold, beside what others have published; makes `docs/results.md`.

    python benchmarks/results.py ../shared/data/medmnist --runs runs/results

Each recipe called DATASET-*.toml is trained on DATASET.npz; a run that is finished already is not done again, so the
table can be made piece by piece. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overread import pipeline
from overread.progress import Silent
from overread.recipe import load_recipe, shipped_recipes

TABLE = Path(__file__).parents[1] / "docs" / "results.md"

# Yang et al., Scientific Data 10:41 (2023), AUC / ACC on the official test split, mean of three trainings
PUBLISHED = {
    "breastmnist": {
        "ResNet-18 (28)": (0.901, 0.863),
        "ResNet-18 (224)": (0.891, 0.833),
        "ResNet-50 (28)": (0.857, 0.812),
        "ResNet-50 (224)": (0.866, 0.842),
        "auto-sklearn": (0.836, 0.803),
        "AutoKeras": (0.871, 0.831),
        "Google AutoML": (0.919, 0.861),
    },
    "pneumoniamnist": {
        "ResNet-18 (28)": (0.944, 0.854),
        "ResNet-18 (224)": (0.956, 0.864),
        "ResNet-50 (28)": (0.948, 0.854),
        "ResNet-50 (224)": (0.962, 0.884),
        "auto-sklearn": (0.942, 0.855),
        "AutoKeras": (0.947, 0.878),
        "Google AutoML": (0.991, 0.946),
    },
    "adrenalmnist3d": {
        "ResNet-18 2.5D": (0.718, 0.772),
        "ResNet-18 3D": (0.827, 0.721),
        "ResNet-18 ACS": (0.839, 0.754),
        "ResNet-50 2.5D": (0.732, 0.763),
        "ResNet-50 3D": (0.828, 0.745),
        "ResNet-50 ACS": (0.828, 0.758),
        "auto-sklearn": (0.828, 0.802),
        "AutoKeras": (0.804, 0.705),
    },
}


@dataclass(frozen=True)
class Row:
    """What one recipe reached."""

    recipe: str
    what: str
    auroc: str
    accuracy: str
    minutes: float
    warnings: tuple[str, ...]


def rows_of(dataset: str, data: Path, runs: Path, *, train: bool) -> Iterator[Row]:
    for name in sorted(shipped_recipes()):
        if not name.startswith(f"{dataset}-"):
            continue
        run = runs / name
        if train:
            print(f"{name} ...", flush=True)
            pipeline.train(name, data, run, progress=Silent())
        if (run / "evaluation.json").is_file():
            yield row_of(name, json.loads((run / "evaluation.json").read_text(encoding="utf-8")))


def row_of(name: str, evaluation: dict[str, Any]) -> Row:
    recipe = load_recipe(name)
    before = (
        f", pre-trained as an autoencoder for {recipe.pretraining.epochs} epochs" if recipe.pretraining.epochs else ""
    )
    told = {one["metric"]: one for one in evaluation["estimates"] if one["class_name"] is None}
    return Row(
        name,
        f"{recipe.model.family}{before}",
        words(told["auroc"]),
        words(told["accuracy"]),
        evaluation["model"]["training_seconds"] / 60,
        tuple(evaluation["warnings"]),
    )


def words(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def page(rows: dict[str, list[Row]]) -> str:
    lines = [
        "# What every family reaches",
        "",
        "Out of fold: each case is answered by a network that did not learn from it, its patient or a copy of it (five",
        "folds of the published training and validation splits together). In brackets are 95 % intervals over",
        "patients. Minutes are those of the training of all five folds on two cores. Made by `benchmarks/results.py`;",
        "settings were chosen on folds of other seeds.",
        "",
        "The published rows (Yang et al., Scientific Data 10:41, 2023) are on the **official test split**, not",
        "used here: other images, one network instead of five, no intervals. They show the scale, not a ranking.",
    ]
    for dataset, reached in rows.items():
        lines += [
            "",
            f"## {dataset}",
            "",
            "| recipe | family | AUROC | accuracy | minutes |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [f"| `{r.recipe}` | {r.what} | {r.auroc} | {r.accuracy} | {r.minutes:.1f} |" for r in reached]
        notes = dict.fromkeys(note for row in reached for note in row.warnings)
        lines += ["", *(f"Read first: {note}" for note in notes), ""] if notes else [""]
        lines += ["| published, on the test split | AUC | accuracy |", "| --- | --- | --- |"]
        lines += [f"| {name} | {auc:.3f} | {accuracy:.3f} |" for name, (auc, accuracy) in PUBLISHED[dataset].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with breastmnist.npz and the others")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", choices=list(PUBLISHED), action="append", help="this data set alone")
    parser.add_argument("--table", action="store_true", help="make the table of the finished runs; train nothing")
    typed = parser.parse_args()
    rows = {}
    for dataset in PUBLISHED:
        train = not typed.table and (typed.only is None or dataset in typed.only)
        rows[dataset] = list(rows_of(dataset, typed.data / f"{dataset}.npz", typed.runs, train=train))
    TABLE.write_text(page(rows), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
