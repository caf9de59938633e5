import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel of this checkout, built without the network."""
    for needed in ("hatchling", "pip"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed, so no wheel can be built without the network")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    ours = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "overread").rglob("*")
        if path.is_file() and path.suffix in {".py", ".typed", ".html", ".j2", ".css", ".js", ".svg"}
    }
    assert "overread/py.typed" in ours
    assert ours <= set(wheel.namelist())


def test_the_wheel_holds_every_shipped_recipe(wheel: zipfile.ZipFile) -> None:
    recipes = {f"overread/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.toml")}
    assert recipes
    assert recipes <= set(wheel.namelist())


def test_the_wheel_holds_no_images_weights_or_tests(wheel: zipfile.ZipFile) -> None:
    suffixes = {Path(name).suffix for name in wheel.namelist()}
    assert not suffixes & {".dcm", ".npz", ".npy", ".pt", ".pth", ".ckpt", ".safetensors", ".pkl", ".png"}
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"overread"}


def test_recipes_are_found_by_name_in_an_unpacked_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "import overread.recipe as r; print(r.__file__); print(r.load_recipe('breastmnist-cnn').name)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()
    assert said[0].startswith(str(tmp_path))
    assert said[1] == "breastmnist-cnn"


def test_the_wheel_says_what_it_is_and_how_it_is_called(wheel: zipfile.ZipFile) -> None:
    told = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "License-Expression: Apache-2.0" in wheel.read(told["METADATA"]).decode()
    assert "LICENSE" in told
    assert "overread = overread.cli:main" in wheel.read(told["entry_points.txt"]).decode()


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    declared = " ".join([*project["dependencies"], *extras]).lower()
    import ast

    imported: set[str] = set()
    for path in (ROOT / "src" / "overread").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    called = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "pydantic_core": "pydantic"}
    for name in imported - set(sys.stdlib_module_names) - {"overread"}:
        assert called.get(name, name).replace("_", "-").lower() in declared, f"{name} is imported and not declared"
