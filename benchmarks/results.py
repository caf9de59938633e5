"""Every family on three public data sets, out of fold, beside what others have published; makes `docs/results.md`.

    python benchmarks/results.py ../shared/data/medmnist --runs runs/results

Each recipe called DATASET-*.toml is trained on DATASET.npz, one after the other, each in a process of its own. What a
run reached is kept in `benchmarks/results.json` as soon as it ends, so that the table can be made piece by piece; a
recipe is trained again only where its settings have changed since. Nothing else should run on the machine meanwhile:
the column "cores" says how much of it the training had.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from overread.provenance import digest_of
from overread.recipe import Recipe, load_recipe, shipped_recipes

KEPT = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "results.md"

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
TITLES = {"breastmnist": "BreastMNIST", "pneumoniamnist": "PneumoniaMNIST", "adrenalmnist3d": "AdrenalMNIST3D"}

Row = dict[str, Any]


def recipes_of(dataset: str) -> list[str]:
    return sorted(name for name in shipped_recipes() if name.startswith(f"{dataset}-"))


def settings_digest(recipe: Recipe) -> str:
    """Changes with what the recipe asks for, and not with settings that came later and that it does not name."""
    return digest_of(recipe.to_toml(whole=False))[:16]


def trained(name: str, data: Path, run: Path) -> Row:
    """What a recipe reaches and costs, trained from the beginning."""
    if run.exists():
        shutil.rmtree(run)  # what was begun before would make the time too short
    started = time.perf_counter()
    command = [sys.executable, "-m", "overread", "train", name, str(data), "--out", str(run)]
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{name}: the training ended with an error (see above); its row is left as it was.")
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    computed = json.loads((run / "computed.json").read_text(encoding="utf-8"))
    estimates = {one["metric"]: one for one in evaluation["estimates"] if one["class_name"] is None}
    return {
        "settings": settings_digest(load_recipe(name)),
        "data": evaluation["data"]["fingerprint"],
        "images": evaluation["data"]["n_cases"],
        "groups": evaluation["data"]["n_groups"],
        "networks": evaluation["model"]["n_networks"],
        "parameters": evaluation["model"]["n_parameters"],
        **{name: {key: round(estimates[name][key], 4) for key in ("value", "low", "high")} for name in SHOWN},
        "minutes": round(seconds / 60, 1),
        "cores": round((used.ru_utime + used.ru_stime) / seconds, 1),
        "memory_gb": round(used.ru_maxrss * 1024 / 1e9, 1),
        "computed": computed,
        "warnings": evaluation["warnings"],
    }


SHOWN = ("auroc", "accuracy")


def page(rows: dict[str, Row]) -> str:
    """The page of the rows whose recipes are still what they were."""
    lines = [
        "# What every family reaches",
        "",
        "Out of fold: each image is answered by networks that did not learn from it or from a near copy of it, in",
        "folds of the published training and validation splits together. In brackets are 95 % intervals over images,",
        "where near copies count as one. Minutes and memory are those of the whole command, from the files to the",
        "report, for all networks; `cores` is how much of the machine's two cores it had. Made by",
        "`benchmarks/results.py`.",
        "",
        "The published rows (Yang et al., Scientific Data 10:41, 2023) are on the **official test split**, which is",
        "not used here: other images, one network instead of several, no intervals. They show the scale, not a",
        "ranking. Each recipe's header says how its settings were chosen.",
    ]
    for dataset, published in PUBLISHED.items():
        reached = {name: rows[name] for name in recipes_of(dataset) if is_current(name, rows)}
        if not reached:
            continue
        lines += [
            "",
            f"## {TITLES[dataset]}",
            "",
            "| recipe | AUROC | accuracy | networks | minutes | cores | memory |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        best = max(reached.values(), key=lambda row: row["auroc"]["value"])
        for name, row in reached.items():
            auroc, accuracy = (words(row[metric]) for metric in SHOWN)
            shown = f"**{auroc}**" if row is best else auroc
            lines.append(
                f"| `{name}` | {shown} | {accuracy} | {row['networks']} | {row['minutes']:.1f} | {row['cores']:.1f} "
                f"| {row['memory_gb']:.1f} GB |"
            )
        counted = {f"{row['images']} images, {row['groups']} that are no near copies" for row in reached.values()}
        lines += ["", f"{' and '.join(sorted(counted))}."]
        lines += [
            f"Read first: {note}" for note in dict.fromkeys(n for row in reached.values() for n in row["warnings"])
        ]
        lines += ["", "| published, on the test split | AUC | accuracy |", "| --- | --- | --- |"]
        lines += [f"| {name} | {auc:.3f} | {accuracy:.3f} |" for name, (auc, accuracy) in published.items()]
    return "\n".join(lines) + "\n"


def is_current(name: str, rows: dict[str, Row]) -> bool:
    return name in rows and rows[name]["settings"] == settings_digest(load_recipe(name))


def words(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def kept() -> dict[str, Row]:
    rows: dict[str, Row] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with breastmnist.npz and the others")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", action="append", help="this recipe, or those of this data set")
    parser.add_argument("--table", action="store_true", help="make the page of what is kept; train nothing")
    typed = parser.parse_args()
    names = [name for dataset in PUBLISHED for name in recipes_of(dataset)]
    if unknown := set(typed.only or ()) - {*names, *PUBLISHED}:
        parser.error(f"no recipe or data set is called {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    for name in () if typed.table else names:
        dataset = name.split("-")[0]
        if (typed.only is None and not is_current(name, kept())) or {name, dataset} & set(typed.only or ()):
            row = trained(name, typed.data / f"{dataset}.npz", typed.runs / name)
            KEPT.write_text(json.dumps(dict(sorted({**kept(), name: row}.items())), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept()), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
