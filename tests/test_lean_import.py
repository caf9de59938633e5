import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_networks_are_made_and_asked_without_torch_s_compiler() -> None:
    assert "answered, no compiler" in run(
        """
import sys
import torch
from overread.models import cnn, mask_rcnn
from overread.models.contract import Shape
from overread.data import augment  # as a reading does, after the networks

for kind, task in ((cnn.Cnn, "single-label"), (mask_rcnn.MaskRcnn, "masks")):
    model = kind.build(kind.Settings(weights="none"), Shape(task, ("a", "b"), 1)).eval()
    with torch.inference_mode():
        model.predict(torch.rand(1, 1, 64, 64))
print("answered,", "compiler" if any(name.startswith("torch._dynamo") for name in sys.modules) else "no compiler")
"""
    )


def test_whoever_compiles_afterwards_finds_the_compiler() -> None:
    said = run(
        """
import torch
from overread.models import backbones
from torchvision.ops import roi_align

assert roi_align.__globals__["is_compile_supported"]("cpu") in (True, False)
seen = []
def eager(graph, _):
    seen.append(graph)
    return graph
double = torch.compile(lambda values: values * 2, backend=eager)
print(double(torch.ones(3)).tolist(), len(seen))
"""
    )
    assert said.strip() == "[2.0, 2.0, 2.0] 1"


def test_what_a_stand_in_does_not_know_comes_from_the_compiler() -> None:
    said = run(
        """
from overread.lean_import import without_compiler

with without_compiler():
    from torch._dynamo import disable, optimize
    from torch._dynamo.utils import is_compile_supported
    import torch._dynamo
print(optimize.__module__, torch._dynamo.disable.__module__)
"""
    )
    assert said.split() == ["torch._dynamo.eval_frame", "torch._dynamo.decorators"]


def test_a_part_of_the_compiler_that_nothing_stands_in_for_is_found_and_is_there_once() -> None:
    said = run(
        """
import sys
from overread.lean_import import without_compiler

before = list(sys.meta_path)
with without_compiler():
    import torch._dynamo.config as first
    from torch._dynamo import config as second
    from torch._dynamo.utils import counters
import torch
print(first is second is torch._dynamo.config is sys.modules["torch._dynamo.config"], sys.meta_path == before)
print(torch.compile(lambda values: values * 2, backend="eager")(torch.ones(1)).item())
"""
    )
    assert said.split() == ["True", "True", "2.0"]


def test_a_compiler_that_is_there_already_stays() -> None:
    said = run(
        """
import torch._dynamo
from overread.lean_import import without_compiler

with without_compiler():
    from torch._dynamo import disable
print(disable.__module__)
"""
    )
    assert said.strip() == "torch._dynamo.decorators"


def test_an_import_that_fails_leaves_no_stand_in_behind() -> None:
    said = run(
        """
import sys
from overread.lean_import import without_compiler

try:
    with without_compiler():
        import nowhere_to_be_found
except ModuleNotFoundError:
    print("torch._dynamo" in sys.modules)
"""
    )
    assert said.strip() == "False"
