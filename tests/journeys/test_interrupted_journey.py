"""A training that is killed, doubled, misdirected, or left to find its own recipe."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Start = Callable[..., "subprocess.Popen[str]"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def ended(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out + err


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    raise AssertionError(f"{path.name} did not appear")


def test_a_training_that_was_killed_goes_on_to_the_same_result(
    start: Start, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    text = (journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 4\naverage = 0.9")
    recipe.write_text(text.replace("[model]", "[augmentation]\nflip = true\nshift = 0.1\nnoise = 0.05\n[model]"))
    whole = start("train", recipe, phantom.labels, "--out", tmp_path / "whole", "--device", "cpu")
    killed = start("train", recipe, phantom.labels, "--out", tmp_path / "killed", "--device", "cpu")
    wait_for(tmp_path / "killed" / "folds" / "fold-0" / "checkpoint.safetensors", killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "report.html").exists()
    ended(whole)
    ended(start("train", recipe, phantom.labels, "--out", tmp_path / "killed", "--device", "cpu"))
    first, second = tmp_path / "whole", tmp_path / "killed"
    assert (first / "predictions.csv").read_bytes() == (second / "predictions.csv").read_bytes()
    told = [json.loads((run / "evaluation.json").read_text())["estimates"] for run in (first, second)]
    assert told[0] == told[1]
    for name in ("fold-0.safetensors", "fold-1.safetensors"):
        assert (first / "bundle" / name).read_bytes() == (second / "bundle" / name).read_bytes()
    assert not (second / "folds").exists()


def volumes(folder: Path) -> Path:
    """Twelve volumes in the layout of MedMNIST, every second one with something bright in it."""
    pixels = np.random.default_rng(0).integers(0, 60, (12, 7, 16, 16))
    pixels[1::2, 2:5, 5:11, 5:11] = 220
    arrays = {"train": slice(0, 8), "val": slice(8, 12)}
    labels = (np.arange(12) % 2).astype(np.uint8)[:, None]
    held = {f"{part}_images": pixels[some].astype(np.uint8) for part, some in arrays.items()}
    np.savez(folder / "volumes.npz", **held, **{f"{part}_labels": labels[some] for part, some in arrays.items()})
    return folder / "volumes.npz"


TIMED = {"created", "seconds", "training_seconds", "bundle"}
"""What depends on the clock; a bundle is called by a digest of all that it says, its times too."""


def without_times(told: Any) -> Any:
    """What is left of a JSON once what says when, or for how long, is taken out."""
    if isinstance(told, dict):
        return {key: without_times(one) for key, one in told.items() if key not in TIMED}
    return [without_times(one) for one in told] if isinstance(told, list) else told


@pytest.mark.parametrize(
    ("kind", "learned", "epochs"),
    [("marks", "checkpoint", 3), ("sequences", "checkpoint", 40), ("pre-training", "pretraining", 6)],
)
def test_a_training_that_was_killed_in_its_last_fold_ends_with_the_same_numbers(
    *, kind: str, learned: str, epochs: int, start: Start, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    text, data = (journey / "cnn.toml").read_text(), phantom.labels
    if kind == "marks":
        text = (journey / "marks.toml").read_text().replace('scheme = "hold-out"\nheld_out = 0.3', "folds = 2")
        data = phantom.marks
    elif kind == "sequences":
        text = text.replace('family = "cnn"\nweights = "none"', 'family = "gru"\nwidth = 4\nhidden = 8')
        data = volumes(tmp_path)
    else:
        text = text.replace('weights = "none"', 'backbone = "test_efficientnet"\nweights = "none"')
        text = text.replace("[training]", "[pretraining]\nepochs = 3\n[training]")
    text = re.sub(r"(?m)(?<=\[training\]\n)epochs = \d+$", f"epochs = {epochs}", text)
    (tmp_path / "recipe.toml").write_text(text)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    typed = ("train", tmp_path / "recipe.toml", data, "--device", "cpu", "--out")
    killed, undisturbed = start(*typed, cut), start(*typed, whole)
    wait_for(cut / "folds" / "fold-1" / f"{learned}.safetensors", killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (cut / "evaluation.json").exists()
    said = ended(start(*typed, cut))
    assert "fold 1 of 2: epoch" not in said  # it was trained already
    assert f"fold 2 of 2: epoch {epochs} of {epochs}" in said
    ended(undisturbed)
    for name in ("fold-0.safetensors", "fold-1.safetensors"):
        assert (cut / "bundle" / name).read_bytes() == (whole / "bundle" / name).read_bytes()
    told = [without_times(json.loads((run / "evaluation.json").read_text())) for run in (cut, whole)]
    assert told[0] == told[1]
    assert (cut / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


STRIPES = """
name = "tiny-stripes"
[data]
folds = 3
validation = 0.25
[model]
family = "cnn"
backbone = "test_efficientnet"
weights = "none"
[training]
epochs = 15
batch_size = 4
precision = "float32"
memory_format = "contiguous"
[evaluation]
draws = 100
"""


def test_images_that_go_away_in_a_later_fold_stop_a_training_which_goes_on_to_the_same_numbers_when_they_are_back(
    start: Start, tmp_path: Path
) -> None:
    data, recipe = tmp_path / "data", tmp_path / "recipe.toml"
    recipe.write_text(STRIPES)
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 120, (32, 32))
        pixels[:: 2 + number % 2] += 100
        file = data / ("fine", "coarse")[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    typed = ("train", recipe, data, "--device", "cpu", "--out")
    whole, run = tmp_path / "whole", tmp_path / "run"
    training = start(*typed, run)
    wait_for(run / "folds" / "fold-1" / "checkpoint.safetensors", training)
    (data / "fine").rename(tmp_path / "away")  # as a share of the network does
    _, err = training.communicate(timeout=300)
    assert training.returncode == 1
    reason = err[err.index("overread: ") :]
    assert re.search(r"overread: \d\d\.png: this file changed, or went away", reason)
    assert "  It happened in fold 2 of 3.\n" in reason
    assert f"  Nothing that was trained is lost: it is kept in '{run}'" in reason
    assert "the same command goes on from there" in reason
    assert len(list((run / "folds").glob("fold-*/checkpoint.safetensors"))) == 2
    (tmp_path / "away").rename(data / "fine")
    undisturbed = start(*typed, whole)
    said = ended(start(*typed, run))
    assert "fold 1 of 3: epoch" not in said
    ended(undisturbed)
    for name in ("fold-0.safetensors", "fold-1.safetensors", "fold-2.safetensors"):
        assert (run / "bundle" / name).read_bytes() == (whole / "bundle" / name).read_bytes()
    told = [without_times(json.loads((one / "evaluation.json").read_text())) for one in (run, whole)]
    assert told[0] == told[1]


def test_a_second_training_into_the_same_folder_is_refused_and_ctrl_c_ends_the_first_with_one_line(
    start: Start, overread: Any, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text((journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 500"))
    first = start("train", recipe, phantom.labels, "--out", tmp_path / "run", "--quiet")
    try:
        wait_for(tmp_path / "run" / "folds" / "fold-0" / "checkpoint.safetensors", first)
        second = overread("train", recipe, phantom.labels, "--out", tmp_path / "run")
        assert second.code == 1
        assert "Another process is training" in second.err
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        assert first.communicate(timeout=60) == ("", "overread: stopped by Ctrl-C.\n")
        assert first.returncode == 130
    finally:
        first.kill()
        first.communicate()


def test_a_finished_run_that_is_started_again_does_nothing(
    overread: Any, classifier: Path, journey: Path, phantom: Any
) -> None:
    before = contents(classifier)
    said = overread("train", journey / "cnn.toml", phantom.labels, "--out", classifier)
    assert said.code == 0
    assert "finished already" in said.err
    assert "AUROC" in said.out
    assert contents(classifier) == before


@pytest.mark.parametrize("lost", ["bundle/fold-0.safetensors", "evaluation.json"])
def test_a_finished_run_that_lost_a_file_is_not_called_finished(
    *, lost: str, overread: Any, classifier: Path, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(classifier, tmp_path / "run"))
    (run / lost).unlink()
    said = overread("train", journey / "cnn.toml", phantom.labels, "--out", run)
    assert said.code == 1
    assert Path(lost).name in said.err
    assert "finished already" not in said.err


@pytest.mark.parametrize("words", ["[1]", "null", "{", "\udcff"])
def test_a_run_whose_identity_is_damaged_is_left_alone(
    words: str, overread: Any, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_bytes(words.encode(errors="surrogateescape"))
    said = overread("train", journey / "cnn.toml", phantom.labels, "--out", tmp_path / "run")
    assert said.code == 1
    assert "Nothing was changed" in said.err


@pytest.mark.parametrize("other", ["recipe", "data"])
def test_a_run_is_not_gone_on_with_by_another_recipe_or_data_set(
    *, other: str, overread: Any, classifier: Path, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    recipe, labels = journey / "cnn.toml", phantom.labels
    if other == "recipe":
        recipe = tmp_path / "other.toml"
        recipe.write_text((journey / "cnn.toml").read_text().replace("epochs = 2", "epochs = 3"))
    else:
        labels = phantom.folder / "fewer.csv"
        labels.write_text("\n".join(phantom.labels.read_text().splitlines()[:-1]))
    before = contents(classifier)
    try:
        said = overread("train", recipe, labels, "--out", classifier)
    finally:
        (phantom.folder / "fewer.csv").unlink(missing_ok=True)
    assert said.code == 1
    assert f"another {other}" in said.err
    assert contents(classifier) == before


def test_a_folder_that_is_no_run_is_left_alone(overread: Any, journey: Path, phantom: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    said = overread("train", journey / "cnn.toml", phantom.labels, "--out", tmp_path / "mine")
    assert said.code == 1
    assert "thesis.txt" in said.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_run_that_was_refused_can_be_begun_with_mended_data(overread: Any, journey: Path, tmp_path: Path) -> None:
    from overread.data.phantom import write_phantom

    data = write_phantom(tmp_path / "ct", patients=9, slices=1, size=64)
    learned_from = data.labels.read_text().splitlines()
    damaged = data.folder / next(line.split(",")[0] for line in learned_from if line.endswith("train"))
    good = damaged.read_bytes()
    damaged.write_bytes(good[:2000])
    refused = overread("train", journey / "cnn.toml", data.labels, "--out", tmp_path / "run")
    assert refused.code == 1
    assert damaged.name in refused.err
    damaged.write_bytes(good)
    assert overread("train", journey / "cnn.toml", data.labels, "--out", tmp_path / "run").code == 0


def shortened(proposal: str) -> str:
    """The proposal as somebody in a hurry would change it."""
    text = re.sub(r"(?m)^epochs = .*$", "epochs = 2", proposal)
    return re.sub(r"(?m)^folds = .*$", "folds = 2", text)


def test_a_training_without_a_recipe_keeps_the_one_that_would_be_proposed(
    start: Any, overread: Any, phantom: Any, tmp_path: Path
) -> None:
    proposal = overread("recipe", "new", phantom.labels).out
    run = tmp_path / "run"
    training = start("train", phantom.labels, "--out", run, "--device", "cpu")
    wait_for(run / "recipe.toml", training)
    training.kill()
    training.communicate()
    assert (run / "recipe.toml").read_text() == proposal


def test_the_same_command_goes_on_with_the_runs_own_recipe_and_its_own_way_to_compute(
    start: Any, overread: Any, phantom: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    own = shortened(overread("recipe", "new", phantom.labels).out)
    (run / "recipe.toml").write_text(own)
    typed = ("train", phantom.labels, "--out", run, "--device", "cpu")
    training = start(*typed)
    wait_for(run / "folds" / "fold-0" / "checkpoint.safetensors", training)
    os.kill(training.pid, signal.SIGKILL)
    training.communicate()
    chosen = json.loads((run / "computed.json").read_text())
    assert len(chosen["trials"]) == 4
    said = ended(start(*typed))
    assert re.search(r"this training takes about \d+ \w+ on \d+ cores?, up to \d+\.\d GB of memory", said)
    bundle = json.loads((run / "bundle" / "bundle.json").read_text())["content"]
    assert bundle["computed"] == chosen
    assert bundle["recipe"]["training"]["precision"] == "auto"
    assert (bundle["recipe"]["training"]["epochs"], len(bundle["folds"])) == (2, 2)
    assert (run / "recipe.toml").read_text() == own
    again = overread(*typed)
    assert again.code == 0
    assert "finished already" in again.err


def test_a_folder_with_more_than_a_recipe_in_it_is_left_alone(overread: Any, phantom: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    said = overread("train", phantom.labels, "--out", tmp_path)
    assert said.code == 1
    assert "Nothing was changed" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_somebody_elses_recipe_is_no_reason_to_take_a_folder(
    overread: Any, journey: Path, phantom: Any, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text((journey / "cnn.toml").read_text())
    said = overread("train", journey / "cnn.toml", phantom.labels, "--out", tmp_path)
    assert said.code == 1
    assert "is not empty (recipe.toml" in said.err
