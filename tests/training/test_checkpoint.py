"""What an interrupted training goes on from."""

import copy
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import nn

from overread.errors import BundleError
from overread.training.checkpoint import load_checkpoint, packed, save_checkpoint, unpacked

FEW = settings(max_examples=30, deadline=None)


def _network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    return network.to(memory_format=torch.channels_last)


def _steps(network: nn.Module, optimiser: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimiser.zero_grad()
        network(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
        optimiser.step()


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, betas=(0.8, 0.99)),
}


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_an_optimiser_goes_on_bit_for_bit(tmp_path, kind, before):
    network = _network()
    optimiser = OPTIMISERS[kind](
        [{"params": list(network[0].parameters()), "lr": 0.003}, {"params": list(network[1:].parameters())}]
    )
    _steps(network, optimiser, range(before))
    values, tensors = packed(optimiser.state_dict())
    save_checkpoint(
        tmp_path / "c.safetensors",
        tensors={"model": network.state_dict(), "optimiser": tensors},
        state={"optimiser": values},
    )
    _steps(network, optimiser, range(before, before + 3))

    found = load_checkpoint(tmp_path / "c.safetensors")
    again = _network()
    again.load_state_dict(found.tensors["model"])
    other = OPTIMISERS[kind](
        [{"params": list(again[0].parameters()), "lr": 0.5}, {"params": list(again[1:].parameters())}]
    )
    other.load_state_dict(unpacked(found.state["optimiser"], found.tensors["optimiser"]))
    _steps(again, other, range(before, before + 3))

    for name, expected in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], expected), name


_numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_values = st.recursive(
    _numbers,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
        | st.sampled_from([(), [], {}])
    ),
    max_leaves=12,
)


def _equal(a, b) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, float):
        return repr(a) == repr(b)
    return a == b


@FEW
@given(value=_values)
def test_any_nested_state_comes_back_equal_and_of_equal_types(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("c") / "c.safetensors"
    state = {
        "any": value,
        "step": torch.tensor(3.0),
        "empty": torch.zeros(0, 2),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "maps": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "volumes": torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
    }
    values, tensors = packed(copy.deepcopy(state))
    save_checkpoint(path, tensors={"t": tensors}, state={"s": values})
    found = load_checkpoint(path)
    assert _equal(unpacked(found.state["s"], found.tensors["t"]), state)


def test_groups_stay_apart_and_empty_ones_are_kept(tmp_path):
    tensors = {"model": {"a/b": torch.ones(1)}, "best": {"a/b": torch.zeros(1)}, "average": {}}
    save_checkpoint(tmp_path / "c.safetensors", tensors=tensors, state={"epoch": 4, "best": None})
    found = load_checkpoint(tmp_path / "c.safetensors")
    assert found.tensors == tensors
    assert found.state == {"epoch": 4, "best": None}


def test_a_full_disk_is_an_error_of_the_disk_and_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, tensors={"model": {"w": torch.ones(3)}}, state={"epoch": 1})

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("overread.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match=r"checkpoint.safetensors'.*No space left"):
        save_checkpoint(path, tensors={"model": {"w": torch.zeros(3)}}, state={"epoch": 2})
    assert load_checkpoint(path).state == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_shared_and_strided_tensors_are_saved(tmp_path):
    memory = torch.arange(12.0).reshape(3, 4)
    tensors = {"model": {"whole": memory, "same": memory, "turned": memory.T, "part": memory[1:, ::2]}}
    save_checkpoint(tmp_path / "c.safetensors", tensors=tensors, state={})
    found = load_checkpoint(tmp_path / "c.safetensors").tensors["model"]
    for name, tensor in tensors["model"].items():
        assert torch.equal(found[name], tensor)


def test_where_there_is_no_checkpoint_the_answer_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "c.safetensors") is None


def _saved(folder, epoch: int = 1):
    path = folder / "checkpoint.safetensors"
    save_checkpoint(path, tensors={"model": {"w": torch.arange(40.0)}}, state={"epoch": epoch, "sha256": "0" * 64})
    return path


@FEW
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused(tmp_path_factory, where, change):
    path = _saved(tmp_path_factory.mktemp("c"))
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= change
    path.write_bytes(content)
    with pytest.raises(BundleError, match="Delete the fold's folder"):
        load_checkpoint(path)


@FEW
@given(keep=st.floats(0, 1, exclude_max=True))
def test_a_cut_off_checkpoint_is_refused(tmp_path_factory, keep):
    path = _saved(tmp_path_factory.mktemp("c"))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(BundleError, match=r"checkpoint\.safetensors: .* Delete the fold's folder"):
        load_checkpoint(path)


def test_bytes_after_the_end_are_refused(tmp_path):
    path = _saved(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError):
        load_checkpoint(path)


def test_a_folder_or_any_other_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("A checkpoint? No.")
    for name in ("folder", "text"):
        with pytest.raises(BundleError, match=name):
            load_checkpoint(tmp_path / name)


def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path):
    path = _saved(tmp_path, epoch=7)
    with pytest.raises(ValueError, match="Out of range"):
        save_checkpoint(path, tensors={}, state={"loss": math.nan})
    with pytest.raises(ValueError, match="no '/'"):
        save_checkpoint(path, tensors={"a/b": {}}, state={})
    with pytest.raises(TypeError, match=r"value\.x is a object"):
        packed({"x": object()})
    assert load_checkpoint(path).state["epoch"] == 7
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


_WRITER = """
import sys, torch
from pathlib import Path
from overread.training.checkpoint import save_checkpoint
for epoch in range(10**6):
    tensors = {"model": {"w": torch.full((1_000_000,), float(epoch))}}
    save_checkpoint(Path(sys.argv[1]), tensors=tensors, state={"epoch": epoch})
"""


def test_a_killed_writer_leaves_the_last_whole_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)])
    try:
        for _ in range(6):
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.011)
            os.kill(writer.pid, signal.SIGSTOP)  # a stopped process has written what a killed one would have
            found = load_checkpoint(path)
            assert (found.tensors["model"]["w"] == found.state["epoch"]).all()
            os.kill(writer.pid, signal.SIGCONT)
    finally:
        writer.kill()
        writer.wait()
    assert load_checkpoint(path) is not None
