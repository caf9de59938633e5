"""What the guides for contributors show is written down as it stands there, keeps its contracts and works."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from overread.data.phantom import Phantom

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ("CONTRIBUTING.md", "docs/how-to/add-a-model-family.md")
TESTS = "tests/contracts/test_sources_contract.py"
FAMILY_TEST = "tests/models/test_linear.py"


def _parts() -> dict[str, str]:
    """File -> content, of every block that begins with the name of a file."""
    text = "\n".join((ROOT / guide).read_text("utf-8") for guide in GUIDES)
    return dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```\n", text, re.DOTALL))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all that the guides show."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("src", "tests/contracts", "tests/models"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, content in _parts().items():
        assert (folder / name).exists() == (name == TESTS), name
        with open(folder / name, "a", encoding="utf-8") as file:
            file.write("\n\n" * (name == TESTS) + content)
    return folder


def _python(copy: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_part_of_the_guides_is_found_by_its_catalogue_and_keeps_its_contract(copy: Path) -> None:
    entered = {Path(name).parts[2] for name in _parts() if name.startswith("src/")}
    assert entered == {"preprocessing", "evaluation", "models", "data"}
    chosen = "invert or balanced_accuracy or linear or named-files or every_layout"
    run = _python(copy, "pytest", "-q", "-p", "no:cacheprovider", "tests/contracts", FAMILY_TEST, "-k", chosen)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert int(re.findall(r"(\d+) passed", run.stdout)[0]) >= 21, run.stdout[-500:]


def test_the_family_of_the_guide_trains_and_reads_as_the_guide_says(copy: Path, phantom: Phantom) -> None:
    run = _python(copy, "overread", "train", "linear.toml", phantom.labels, "--out", "linear-run")
    assert run.returncode == 0, run.stderr[-2000:]
    run = _python(copy, "overread", "read", "linear-run", phantom.images[0], "--out", "linear-read")
    assert run.returncode == 0, run.stderr[-2000:]
    assert (copy / "linear-run" / "report.html").exists()


def test_a_wrong_setting_of_the_family_is_refused_with_a_suggestion(copy: Path, phantom: Phantom) -> None:
    text = (copy / "linear.toml").read_text().replace("side = 8", "sides = 8")
    assert tomllib.loads(text)["model"]["sides"] == 8
    (copy / "wrong.toml").write_text(text)
    run = _python(copy, "overread", "train", "wrong.toml", phantom.labels, "--out", "wrong-run")
    assert run.returncode == 1
    assert "'side'" in run.stderr
    assert not (copy / "wrong-run").exists()
