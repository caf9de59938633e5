"""What the README tells a person to type works, in that order, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from overread.recipe import Recipe, shipped_recipes

ROOT = Path(__file__).resolve().parents[2]
CHANGED = {
    "overread demo --out overread-demo": "overread demo --quick --out overread-demo",
    "overread train": "sed -i 's/^epochs = .*/epochs = 1/' my-recipe.toml\noverread train",
}
"""`make demo` and `make test` are run by continuous integration itself, and are no shell block here. The demonstration
takes minutes, and so does a whole training: the test asks for the quick demonstration and for one epoch."""


def blocks() -> list[str]:
    """The shell blocks of the README, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```(?:bash|sh|shell)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "overread"
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; from overread.cli import main; sys.exit(main())" "$@"\n'
    )
    command.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    script = "\n".join(blocks())
    for told, typed in CHANGED.items():
        assert script.count(told) == 1, told
        script = script.replace(told, typed)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=place,
        env=os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for file in (
        "overread-demo/marked/report.html",
        "overread-demo/classified/report.html",
        "my-recipe.toml",
        "my-run/bundle/bundle.json",
        "my-run/report.html",
        "my-evaluation/evaluation.json",
        "my-comparison/comparison.html",
        "my-readings/predictions.json",
    ):
        assert (place / file).is_file(), file


def test_every_piece_of_a_recipe_in_the_readme_is_one() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pieces = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert pieces
    for piece in pieces:
        Recipe.from_toml(f'name = "readme"\n{piece}', where="README.md").resolved()


def test_every_shipped_recipe_is_listed_once() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("## Recipes that come along")[1].split("\n## ")[0]
    listed = re.findall(
        r"`([\w-]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    )
    assert sorted(listed) == sorted(shipped_recipes())


def test_every_file_that_the_readme_promises_has_a_command_that_writes_it() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("inspect", "recipe new", "recipe show", "train", "evaluate", "compare", "read", "demo"):
        assert any(f"overread {command} " in block for block in blocks()), command
    assert re.search(r"\[Apache-2.0\]\((\w+)\)", text)
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
