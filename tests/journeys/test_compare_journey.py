"""From two trainings to which of them is better."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from overread.data.phantom import Phantom


@pytest.fixture(scope="module")
def other(overread: Any, journey: Path, phantom: Phantom) -> Path:
    """The same data set learned with another seed and one epoch more."""
    text = (journey / "cnn.toml").read_text().replace('name = "tiny-cnn"', 'name = "other"\nseed = 5')
    (journey / "other.toml").write_text(text.replace("epochs = 2", "epochs = 3"))
    said = overread("train", journey / "other.toml", phantom.labels, "--out", journey / "other-run")
    assert said.code == 0, said.err
    return journey / "other-run"


def test_two_trainings_are_put_side_by_side(overread: Any, classifier: Path, other: Path, tmp_path: Path) -> None:
    said = overread("compare", classifier, other, "--out", tmp_path / "out", "--quiet")
    assert said.code == 0, said.err
    assert said.err == ""
    first, *_ = said.out.splitlines()
    assert "'other-run'" in first
    assert "'cnn-run'" in first
    assert "27 images of 9 patients that both runs answered" in said.out
    made = json.loads((tmp_path / "out" / "comparison.json").read_text())
    for run, folder in zip(made["runs"], (classifier, other), strict=True):
        own = json.loads((folder / "evaluation.json").read_text())
        assert run["estimates"] == own["estimates"]
        assert run["training_seconds"] == own["model"]["training_seconds"] > 0
        assert run["weights_bytes"] == sum(path.stat().st_size for path in folder.glob("bundle/*.safetensors"))
    tested = {row["class_name"] for row in made["differences"] if row["test"]}
    assert tested == {"normal", "stone", "tumour"}
    with open(tmp_path / "out" / "comparison.csv", newline="") as file:
        assert {row["metric"] for row in csv.DictReader(file)} >= {"auroc", "brier", "n_parameters"}
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "SIMULATED" in page
    assert "data:image/png;base64," in page


def test_a_training_and_the_evaluation_of_its_bundle_share_the_held_out_images_and_it_is_said(
    overread: Any, marker: Path, discs: Path, tmp_path: Path
) -> None:
    evaluated = overread("evaluate", marker, discs, "--out", tmp_path / "eval")
    assert evaluated.code == 0, evaluated.err
    said = overread("compare", marker, tmp_path / "eval", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "warning: eval: 11 of 16 images were seen in training" in said.err
    assert "warning: 11 of 16 images were not answered by all runs (marks-run lacks 11)" in said.err
    for row in json.loads((tmp_path / "out" / "comparison.json").read_text())["differences"]:
        assert row["value"] is None or row["value"] == pytest.approx(0, abs=1e-6)  # one and the same network


def test_a_run_that_was_tampered_with_or_answers_something_else_is_refused_in_one_line(
    overread: Any, classifier: Path, marker: Path, tmp_path: Path
) -> None:
    shutil.copytree(classifier, tmp_path / "forged")
    evaluation = tmp_path / "forged" / "evaluation.json"
    told = json.loads(evaluation.read_text())
    told["estimates"][0]["value"] = 0.999
    evaluation.write_text(json.dumps(told))
    for runs, words in (
        ((classifier, tmp_path / "forged"), "One of the two was changed"),
        ((classifier, marker), "Compare runs of one task"),
        ((classifier, classifier / "bundle"), "holds no evaluation.json"),
    ):
        said = overread("compare", *runs, "--out", tmp_path / "out")
        assert said.code == 1
        assert words in said.err
        assert said.err.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_comparison_needs_no_torch(classifier: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from overread.cli import main; "
        f"code = main(['compare', {str(classifier)!r}, {str(classifier)!r}, '--out', {str(tmp_path / 'out')!r}]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
