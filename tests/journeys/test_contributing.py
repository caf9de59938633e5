"""The parts that CONTRIBUTING.md shows are written down as they stand there, and keep their contracts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/contracts/test_sources_contract.py"


def _parts() -> dict[str, str]:
    """File -> content, of every block that begins with the name of a file."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    return dict(re.findall(r"```python\n# (\S+)\n(.*?)```\n", text, re.DOTALL))


def test_every_part_of_the_guide_is_found_by_its_catalogue_and_keeps_its_contract(tmp_path: Path) -> None:
    parts = _parts()
    assert {Path(name).parts[2] for name in parts if name != TESTS} == {"preprocessing", "evaluation", "models", "data"}
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "contracts", tmp_path / "tests" / "contracts", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, content in parts.items():
        assert (tmp_path / name).exists() == (name == TESTS), name
        with open(tmp_path / name, "a", encoding="utf-8") as file:
            file.write("\n\n" * (name == TESTS) + content)
    (tmp_path / "tests" / "contracts" / "test_linear.py").write_text(_LEARNS)
    chosen = "invert or balanced_accuracy or linear or named-files or every_layout"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contracts", "-k", chosen],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert int(re.findall(r"(\d+) passed", run.stdout)[0]) >= 20, run.stdout[-500:]


_LEARNS = """
import torch
from overread.models.contract import Batch, Shape, models

def test_the_family_of_the_guide_learns_a_batch_by_heart():
    torch.manual_seed(0)
    family = models.get("linear")
    model = family.build(family.Settings(side=4), Shape("single-label", ("a", "b"), 1))
    batch = Batch(torch.randn(8, 1, 16, 16), tuple("abcdefgh"), targets=torch.arange(8) % 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        sum(model.loss(batch).values()).backward()
        optimiser.step()
    scores = model.eval().predict(batch.images).scores
    assert (scores.argmax(1) == batch.labels).all()
    assert ((scores >= 0) & (scores <= 1)).all()
"""
