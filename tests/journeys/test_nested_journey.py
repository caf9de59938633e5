"""Settings chosen inside each fold, from a table of images to a bundle that reads, with the power cut in between."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

RECIPE = """
name = "tiny-search"
[data]
scheme = "nested-k-fold"
folds = 2
inner_folds = 2
validation = 0.25
[[preprocessing.steps]]
step = "min-max"
[model]
family = "mlp"
side = 4
dropout = 0.0
[training]
epochs = 3
batch_size = 8
precision = "float32"
memory_format = "contiguous"
[search]
trials = 4
[search.space]
"model.hidden" = [[8, 4], [6], []]
"training.learning_rate" = [1e-2, 1e-3]
[evaluation]
draws = 100
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images of 24 patients, with a spot or without."""
    folder = tmp_path_factory.mktemp("spots")
    lines = ["file,label,patient_id"]
    for number in range(48):
        pixels = np.random.default_rng(number).integers(0, 160, (16, 16), dtype=np.uint8)
        if number // 2 % 2:
            pixels[4:9, 4:9] += 60
        Image.fromarray(pixels).save(folder / f"c-{number:02d}.png")
        lines.append(f"c-{number:02d}.png,{('clear', 'spot')[number // 2 % 2]},patient {number // 2}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


@pytest.fixture(scope="module")
def run(start: Any, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, on as many cores as those that are killed: sums over more end in other last digits."""
    folder = tmp_path_factory.mktemp("nested")
    (folder / "recipe.toml").write_text(RECIPE)
    process = start("train", folder / "recipe.toml", table, "--out", folder / "run", "--device", "cpu")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "4 tried in each: 16 trainings" in err
    return folder / "run"


def evaluation(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
    return told


def test_what_was_chosen_and_tried_in_each_fold_is_told_everywhere(run: Path) -> None:
    told = evaluation(run)["search"]
    records = json.loads((run / "bundle" / "bundle.json").read_text())["content"]["folds"]
    page = (run / "report.html").read_text()
    assert "Chosen settings" in page
    assert "whose settings were chosen without it" in page
    assert [one["fold"] for one in told] == [0, 1]
    for one, record in zip(told, records, strict=True):
        assert len({json.dumps(trial["settings"]) for trial in one["trials"]}) == 4
        best = max(trial["score"] for trial in one["trials"])
        assert one["score"] == best == pytest.approx(np.mean(one["inner_scores"]))
        first = next(trial for trial in one["trials"] if trial["score"] == best)
        assert one["chosen"] == first["settings"] == record["chosen"]["settings"]
        assert record["chosen"]["n_trials"] == 4
        assert f"training.learning_rate = {one['chosen']['training.learning_rate']}" in page
    assert not (run / "folds").exists()


def test_the_test_parts_are_those_of_k_fold_so_that_the_two_can_be_compared(
    overread: Any, run: Path, table: Path, tmp_path: Path
) -> None:
    plain = RECIPE.split("[search]", maxsplit=1)[0].replace("nested-k-fold", "k-fold") + "[evaluation]\ndraws = 100\n"
    (tmp_path / "recipe.toml").write_text(plain)
    assert overread("train", tmp_path / "recipe.toml", table, "--out", tmp_path / "run").code == 0
    folds = [pd.read_csv(one / "predictions.csv").set_index("case_id")["fold"] for one in (run, tmp_path / "run")]
    assert folds[0].sort_index().equals(folds[1].sort_index())
    said = overread("compare", run, tmp_path / "run", "--out", tmp_path / "comparison")
    assert said.code == 0, said.err


def test_the_bundle_is_measured_and_reads_with_the_settings_of_each_fold(
    overread: Any, run: Path, table: Path, tmp_path: Path
) -> None:
    measured = overread("evaluate", run, table, "--out", tmp_path / "measured")
    assert measured.code == 0, measured.err
    assert len(pd.read_csv(tmp_path / "measured" / "predictions.csv")) == 48
    assert overread("read", run, table.parent / "c-00.png", "--out", tmp_path / "read").code == 0


def test_settings_whose_training_leaves_the_numbers_are_counted_and_not_chosen(
    overread: Any, table: Path, tmp_path: Path
) -> None:
    text = RECIPE.split("[search]", maxsplit=1)[0].replace(
        "epochs = 3\nbatch_size = 8", 'epochs = 30\nbatch_size = 4\noptimiser = "sgd"'
    )
    (tmp_path / "recipe.toml").write_text(
        text.replace("dropout = 0.0", "hidden = []")
        + 'schedule = "constant"\nlearning_rate = 10.0\nclip_norm = "none"\nwarmup_epochs = 0.0\n'
        + '[search.space]\n"training.weight_decay" = [1.0, 0.01]\n[evaluation]\ndraws = 100\n'
    )
    said = overread("train", tmp_path / "recipe.toml", table, "--out", tmp_path / "run", "--device", "cpu")
    assert said.code == 0, said.err
    assert "failed. Epoch" in said.err
    for one in evaluation(tmp_path / "run")["search"]:
        assert [trial["failed"] for trial in one["trials"]] == [True, False]
        assert one["trials"][0]["score"] is None
        assert one["chosen"] == {"training.weight_decay": 0.01}
    assert "2, 1 failed" in (tmp_path / "run" / "report.html").read_text()


def test_what_cannot_be_is_named_before_anything_is_learned(overread: Any, table: Path, tmp_path: Path) -> None:
    for space, said in (
        ('"model.hiden" = [[8], [4]]', "model.hiden: no such key. Did you mean 'hidden'"),
        ('"model.loss" = ["cross-entropy", "focal"]\n"model.focal_gamma" = [1.0, 2.0]', "only the loss focal has this"),
        ('"training.optimiser" = ["adamw", "adamww"]', "Did you mean 'adamw'"),
    ):
        text = RECIPE.split('"model.hidden"', maxsplit=1)[0]
        (tmp_path / "recipe.toml").write_text(text + space)
        found = overread("train", tmp_path / "recipe.toml", table, "--out", tmp_path / "run")
        assert found.code == 1
        assert said in found.err
        assert "search.space" in found.err
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("inner_folds = 2", "inner_folds = 9"))
    found = overread("train", tmp_path / "recipe.toml", table, "--out", tmp_path / "run")
    assert found.code == 1
    assert "The training part of fold 0 cannot be parted again (data.inner_folds = 9)" in found.err
    assert not (tmp_path / "run" / "folds").exists()


def written(folder: Path, ending: str) -> int:
    """How many files there are; folders that vanish meanwhile are no news."""
    return sum(name.endswith(ending) and name[0] != "." for _, _, names in os.walk(folder) for name in names)


def wait_for(found: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(12000):
        if found():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("it did not come so far")


def test_a_search_that_is_killed_twice_gives_the_same_trials_choice_and_numbers(
    start: Any, run: Path, table: Path, tmp_path: Path
) -> None:
    again = tmp_path / "run"
    search = again / "folds" / "search"
    words = ("train", run.parent / "recipe.toml", table, "--out", again, "--device", "cpu")
    for so_far in (
        lambda: written(search, ".json") >= 1 and written(search, "checkpoint.safetensors") >= 1,
        lambda: written(search, ".json") >= 10,
    ):
        process = start(*words)
        try:
            wait_for(so_far, process)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (again / "report.html").exists()
    assert written(search, ".json") >= 10
    process = start(*words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    first, second = evaluation(run), evaluation(again)
    assert first["search"] == second["search"]
    assert first["estimates"] == second["estimates"]
    assert (run / "predictions.csv").read_bytes() == (again / "predictions.csv").read_bytes()
    for name in ("fold-0.safetensors", "fold-1.safetensors"):
        assert (run / "bundle" / name).read_bytes() == (again / "bundle" / name).read_bytes()
