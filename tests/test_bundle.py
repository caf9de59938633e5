"""A trained model that is kept, checked and used again."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from overread.bundle import Bundle, FoldRecord
from overread.bundle_files import bundle_folder, fold_weights, load_bundle, save_bundle
from overread.data.extent import Extent
from overread.errors import BundleError, OutputExists
from overread.image import Image
from overread.pipeline.presenting import model_json
from overread.preprocessing.section import step_from
from overread.provenance import digest_of, environment
from overread.recipe import Recipe
from overread.training.computing import Computing, Trial

FEW = settings(max_examples=40, deadline=None)
RECIPE = Recipe.model_validate(
    {
        "name": "little",
        "seed": 3,
        "preprocessing": {"steps": [{"step": "z-score", "scope": "training"}]},
        "training": {"epochs": 2},
    }
)

COMPUTED = Computing(
    device="cpu",
    precision="bf16",
    memory_format="channels_last",
    trials=(
        Trial(
            precision="bf16",
            memory_format="channels_last",
            time_ratio=0.7,
            loss_difference=0.01,
            gradient_difference=0.02,
        ),
    ),
)


def _weights(n: int = 2) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"layer.weight": torch.randn(4, 3, generator=generator), "n": torch.tensor(fold)} for fold in range(n)]


def _record(index: int) -> FoldRecord:
    pixels = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(index)).numpy() * (index + 1)
    step = step_from({"step": "z-score", "scope": "training"}).fit([Image(pixels)])
    return FoldRecord(index=index, steps=(step,), epoch=1, n_fit=8, n_validation=2, n_test=5)


def _bundle(**changes) -> Bundle:
    values = {
        "name": "little-1234abcd",
        "recipe": RECIPE,
        "task": "single-label",
        "classes": ("gutartig", "bösartig"),
        "channels": 1,
        "manifest_fingerprint": "f" * 64,
        "source": "medmnist",
        "simulated": False,
        "folds": (_record(0), _record(1)),
        "threshold": 0.1 + 0.2,
        "seen": ("a" * 64, "b" * 64),
        "evaluation": ({"metric": "auroc", "value": 0.87, "low": None},),
        "intended_use": "Not for patients.",
        "environment": environment(),
        "computed": COMPUTED,
        "created": "2026-11-23T02:00:00+00:00",
        "image_facts": {"channels": 1, "rows": (28, 30)},
    }
    return Bundle(**(values | changes))


@pytest.fixture
def saved(tmp_path) -> Path:
    save_bundle(tmp_path / "run" / "bundle", _bundle(), _weights())
    return tmp_path / "run" / "bundle"


def test_a_bundle_comes_back_as_it_was_written(tmp_path):
    written = save_bundle(tmp_path / "bundle", _bundle(), _weights())
    found = load_bundle(tmp_path / "bundle")
    assert found == written
    assert found.recipe == RECIPE
    assert found.recipe.digest == RECIPE.digest
    for record, expected in zip(found.folds, _weights(), strict=True):
        weights = fold_weights(tmp_path / "bundle", record)
        assert set(weights) == set(expected)
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_fitted_steps_are_kept_for_each_fold(tmp_path):
    bundle = _bundle()
    save_bundle(tmp_path / "bundle", bundle, _weights())
    found = load_bundle(tmp_path / "bundle")
    assert [record.steps for record in found.folds] == [record.steps for record in bundle.folds]
    assert found.folds[0].steps != found.folds[1].steps


def test_every_setting_is_written_so_that_later_defaults_cannot_change_it(saved):
    content = json.loads((saved / "bundle.json").read_text("utf-8"))["content"]
    assert content["recipe"]["training"]["batch_size"] == RECIPE.training.batch_size
    for step, table in zip(RECIPE.preprocessing.steps, content["recipe"]["preprocessing"]["steps"], strict=True):
        assert set(table) == {"step", *type(step).model_fields}


def test_an_older_bundle_that_does_not_say_what_it_cost_is_read(saved):
    content = json.loads((saved / "bundle.json").read_text())["content"]
    for fold in content["folds"]:
        del fold["n_parameters"], fold["training_seconds"]
    _forge(saved, folds=content["folds"])
    bundle = load_bundle(saved)
    assert [(record.n_parameters, record.training_seconds) for record in bundle.folds] == [(None, None)] * 2
    cost = model_json(bundle, saved)
    assert (cost["n_networks"], cost["n_parameters"], cost["training_seconds"]) == (2, None, None)
    assert cost["weights_bytes"] == sum(file.stat().st_size for file in saved.glob("*.safetensors"))


def test_an_older_bundle_that_does_not_say_what_came_later_keeps_its_id(saved):
    content = json.loads((saved / "bundle.json").read_text())["content"]
    assert "extent" not in content
    assert not {"turned", "average_folds"} & set(content["recipe"]["inference"])
    assert load_bundle(saved).extent is None
    assert not load_bundle(saved).of_several


@pytest.mark.parametrize(("slices", "several"), [((1, 1), False), ((1, 9), False), ((6, 9), True)])
def test_a_bundle_says_how_large_its_images_were(tmp_path, slices, several):
    extent = Extent(sides=(28, 30), slices=slices)
    save_bundle(tmp_path / "bundle", _bundle(extent=extent), _weights())
    found = load_bundle(tmp_path / "bundle")
    assert found.extent == extent
    assert found.of_several is several


def test_the_folder_of_the_run_is_as_good_as_that_of_the_bundle(saved):
    assert bundle_folder(saved.parent) == bundle_folder(saved) == saved
    assert load_bundle(saved.parent) == load_bundle(saved)


def test_the_id_changes_with_the_weights_and_not_with_the_place(tmp_path):
    first = save_bundle(tmp_path / "a", _bundle(), _weights())
    same = save_bundle(tmp_path / "b", _bundle(folds=first.folds), _weights())
    other = save_bundle(tmp_path / "c", _bundle(folds=first.folds), [{"n": torch.ones(1)}, {"n": torch.ones(1)}])
    assert first.bundle_id == same.bundle_id == load_bundle(tmp_path / "b").bundle_id != other.bundle_id
    assert len(first.bundle_id) == 12


def test_weights_are_taken_from_a_file_as_well(tmp_path, saved):
    files = [saved / "fold-0.safetensors", saved / "fold-1.safetensors"]
    save_bundle(tmp_path / "copy", _bundle(), files)
    assert [(tmp_path / "copy" / file.name).read_bytes() == file.read_bytes() for file in files] == [True, True]


def test_a_pickle_is_not_taken_for_weights(tmp_path):
    torch.save(_weights()[0], tmp_path / "weights.pt")
    with pytest.raises(BundleError, match=r"weights\.pt: .* safetensors"):
        save_bundle(tmp_path / "bundle", _bundle(folds=(_record(0),)), [tmp_path / "weights.pt"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.pt"]


def test_tied_and_strided_weights_are_saved(tmp_path):
    memory = torch.arange(12.0).reshape(3, 4)
    written = save_bundle(tmp_path / "b", _bundle(folds=(_record(0),)), [{"a": memory, "b": memory, "c": memory.T}])
    assert torch.equal(fold_weights(tmp_path / "b", written.folds[0])["c"], memory.T)


# --- changed, cut, forged -------------------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@FEW
@given(file=st.integers(0, 2), where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused_with_the_name_of_the_file(tmp_path_factory, file, where, change):
    folder = tmp_path_factory.mktemp("run") / "bundle"
    save_bundle(folder, _bundle(), _weights())
    path = _files(folder)[file]
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= change
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a forger would
    with pytest.raises(BundleError, match=path.name):
        load_bundle(folder)


@FEW
@given(file=st.integers(0, 2), keep=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused_with_its_name(tmp_path_factory, file, keep):
    folder = tmp_path_factory.mktemp("run") / "bundle"
    save_bundle(folder, _bundle(), _weights())
    path = _files(folder)[file]
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(BundleError, match=path.name):
        load_bundle(folder)


def test_a_missing_file_is_refused_with_its_name(saved):
    for path in reversed(_files(saved)):
        path.unlink()
        with pytest.raises(BundleError, match=path.name):
            load_bundle(saved)


def test_what_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for name in (".", "file", "absent"):
        with pytest.raises(BundleError, match=r"expected bundle\.json"):
            load_bundle(tmp_path / name)


def _forge(folder: Path, *, version: object = 1, nan: bool = False, **changes) -> None:
    """Write another `bundle.json` with a digest that fits it."""
    whole = json.loads((folder / "bundle.json").read_text("utf-8"))
    content = whole["content"] | changes
    whole = whole | {"version": version, "content": content, "sha256": digest_of(content)}
    text = json.dumps(whole, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    if nan:
        text = text.replace('"value": 0.87', '"value": NaN')
    (folder / "bundle.json").write_text(text, "utf-8")


def test_another_version_is_refused_with_both_numbers(saved):
    for version in (2, "1", None):
        _forge(saved, version=version)
        with pytest.raises(BundleError, match=r"bundle\.json: .* reads version 1"):
            load_bundle(saved)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "fold-1.safetensors", "", None, 3])
def test_a_weights_file_that_leads_elsewhere_is_refused(saved, name):
    folds = json.loads((saved / "bundle.json").read_text("utf-8"))["content"]["folds"]
    (saved.parent / "outside.safetensors").write_bytes((saved / "fold-0.safetensors").read_bytes())
    folds[0]["weights_file"] = name
    _forge(saved, folds=folds)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(saved)
    if isinstance(name, str):
        record = replace(_record(0), weights_file=name, sha256=folds[0]["sha256"])
        with pytest.raises(BundleError):
            fold_weights(saved, record)


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": []},
        {"task": "fortune-telling"},
        {"recipe": {"name": "little", "trainnig": {}}},
        {"recipe": {"name": "little", "preprocessing": {"steps": [{"step": "windwo"}]}}},
        {"channels": "many"},
        {"channels": 9},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"threshold": 5.0},
        {"threshold": -0.1},
        {"more": 1},
    ],
)
def test_a_well_sealed_bundle_that_says_nonsense_is_refused(saved, changes):
    _forge(saved, **changes)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", '{"format": 1}', "\udc80"])
def test_any_other_text_is_refused(saved, text):
    (saved / "bundle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(saved)


def test_nan_in_the_file_is_refused(saved):
    _forge(saved, nan=True)
    with pytest.raises(BundleError, match="another SHA-256"):
        load_bundle(saved)


def test_weights_that_are_no_safetensors_are_refused_even_with_a_fitting_digest(saved):
    (saved / "fold-0.safetensors").write_bytes(b"not tensors")
    sha256 = hashlib.sha256(b"not tensors").hexdigest()
    with pytest.raises(BundleError, match="no safetensors file"):
        fold_weights(saved, replace(_record(0), weights_file="fold-0.safetensors", sha256=sha256))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_even_with_a_fitting_digest(saved, value):
    file = saved / "fold-0.safetensors"
    weights = load_file(file)
    weights["layer.weight"][1, 1] = value
    save_file(weights, file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(BundleError, match=r"'layer\.weight' hold NaN or infinity"):
        fold_weights(saved, replace(_record(0), weights_file=file.name, sha256=sha256))


# --- writing --------------------------------------------------------------------------------------------------------


def test_a_bundle_of_the_same_run_is_replaced_and_nothing_else_is_left(saved):
    again = save_bundle(saved, _bundle(folds=(_record(0),)), _weights(1))
    assert load_bundle(saved) == again
    assert sorted(file.name for file in saved.iterdir()) == ["bundle.json", "fold-0.safetensors"]
    assert [entry.name for entry in saved.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    "changes",
    [{"manifest_fingerprint": "0" * 64}, {"recipe": RECIPE.model_copy(update={"seed": 4})}],
)
def test_a_bundle_of_another_run_is_not_overwritten(saved, changes):
    before = load_bundle(saved)
    with pytest.raises(OutputExists, match="another recipe or data set"):
        save_bundle(saved, _bundle(**changes), _weights())
    assert load_bundle(saved) == before


def test_a_folder_or_file_that_is_no_bundle_is_not_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    (tmp_path / "letter").write_text("x")
    for name in ("thesis", "letter"):
        with pytest.raises(OutputExists, match=f"'{name}' exists already and is no bundle"):
            save_bundle(tmp_path / name, _bundle(), _weights())
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "bundle").mkdir()
    save_bundle(tmp_path / "bundle", _bundle(), _weights())
    assert load_bundle(tmp_path / "bundle").classes == ("gutartig", "bösartig")


def test_a_failure_leaves_the_old_bundle_and_nothing_else(saved):
    before = load_bundle(saved)
    with pytest.raises(ValueError, match="Out of range"):
        save_bundle(saved, _bundle(evaluation=({"value": float("nan")},)), _weights())
    with pytest.raises(FileNotFoundError):
        save_bundle(saved, _bundle(), [saved / "fold-0.safetensors", saved / "absent"])
    with pytest.raises(ValueError, match=r"folds \[0\] have steps that still learn"):
        save_bundle(saved, _bundle(folds=(replace(_record(0), steps=RECIPE.preprocessing.steps),)), _weights(1))
    with pytest.raises(ValueError, match="one set of weights"):
        save_bundle(saved, _bundle(), _weights(3))
    assert load_bundle(saved) == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["bundle"]


def test_a_bundle_can_be_looked_at_without_torch(saved):
    code = (
        "import sys; from pathlib import Path; import overread.bundle_files as b; b.load_bundle(Path(sys.argv[1])); "
        "print('torch' in sys.modules)"
    )
    out = subprocess.check_output([sys.executable, "-c", code, str(saved)], text=True)
    assert out.strip() == "False"
