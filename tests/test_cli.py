import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import overread
from overread.cli import LAYOUTS, main
from overread.data.manifest import Case, ImageRef, Manifest, Problem
from overread.errors import SourceError
from overread.evaluation.estimate import Estimate
from overread.finding import Prediction
from overread.pipeline.folders import fresh_folder
from overread.terminal import Lines, time_left

COMMANDS = ["demo", "inspect", "recipe", "recipe new", "recipe show", "train", "evaluate", "compare", "read"]


@dataclass
class Stage:
    """Stands where the pipeline stands: notes what it was asked for, and answers what a test gives it."""

    answer: Any = None
    asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, verb: str) -> Any:
        def asked(*args: Any, **settings: Any) -> Any:
            settings.pop("progress")
            self.asked.append((verb, args, settings))
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer

        return asked


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage()
    module = types.ModuleType("overread.pipeline")
    for verb in ("demo", "inspect", "propose", "train", "evaluate", "compare", "read"):
        setattr(module, verb, getattr(stage, verb))
    monkeypatch.setitem(sys.modules, "overread.pipeline", module)
    monkeypatch.setattr(overread, "pipeline", module, raising=False)
    yield stage
    assert not logging.getLogger("overread").handlers


def manifest(*cases: Case) -> Manifest:
    return Manifest("lesions", "folders", "single-label", ("benign", "malignant"), cases)


def case(number: int, patient: str, label: str) -> Case:
    labels = {name: name == label for name in ("benign", "malignant")}
    return Case(f"c{number}", patient, (ImageRef(Path(f"c{number}.png")),), labels, split="train")


def test_the_module_is_the_command_line_too() -> None:
    done = subprocess.run([sys.executable, "-m", "overread", "read"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: overread read" in done.stderr


def test_help_comes_at_once_and_without_torch() -> None:
    code = """
import sys
from overread.cli import main
try:
    main(["--help"])
finally:
    sys.exit(sorted({"torch", "numpy", "pydantic", "rich"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "not a medical device" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"  overread {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_is_understood(command: str, capsys: pytest.CaptureFixture[str], stage: Stage) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    typed = capsys.readouterr().out.strip().splitlines()[-1].split(">")[0].split()
    stage.answer = SourceError("understood")
    assert typed[0] == "overread"
    if typed[1:3] == ["recipe", "show"]:
        return
    assert main(typed[1:]) == 1
    assert "understood" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "recipe",
        "dmeo",
        "inspect",
        "inspect a b",
        "train r d",
        "read b --out o",
        "compare a --out o",
        "compare a b",
        "inspect a --nosuch",
        "evaluate b d --out e --split all",
    ],
)
def test_wrong_usage_is_answered_with_2(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(typed.split())
    assert stop.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"overread {overread.__version__}\n"


@pytest.mark.parametrize(
    "typed", [["--debug", "inspect", "data"], ["inspect", "--debug", "data"], ["inspect", "data", "--debug"]]
)
def test_debug_may_stand_before_or_after_the_command(
    typed: list[str], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.answer = SourceError("no images in data")
    assert main(typed) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_refusal_is_one_message_without_a_traceback(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.answer = SourceError("no images in data")
    assert main(["inspect", "data"]) == 1
    assert capsys.readouterr().err == "overread: no images in data\n"


@pytest.mark.parametrize(
    ("number", "words", "advice"),
    [(13, "Permission denied", "Check that you may"), (28, "No space left on device", "Make room")],
)
def test_an_error_of_the_disk_says_where_and_what_to_do(
    number: int, words: str, advice: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.answer = OSError(number, words, "/data/run")
    assert main(["inspect", "data"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"overread: '/data/run': {words}. {advice}")
    assert "OVERREAD_CACHE" in said
    assert "Errno" not in said


@pytest.mark.parametrize("kind", [SourceError, OSError, RuntimeError])
def test_what_was_noted_on_the_way_up_stands_under_the_reason(
    kind: type[Exception], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.answer = kind("reason")
    stage.answer.add_note("It happened in fold 2 of 3.")
    stage.answer.add_note("Nothing is lost.")
    assert main(["inspect", "data"]) == 1
    first, *more = capsys.readouterr().err.splitlines()
    assert first.startswith("overread: ")
    assert more == ["  It happened in fold 2 of 3.", "  Nothing is lost."]


def test_a_terminal_that_does_not_know_a_letter_stops_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    stage.answer = types.SimpleNamespace(
        manifest=replace(manifest(case(1, "p", "benign")), name="Läsionen"), problems=[], facts={}
    )
    assert main(["inspect", "data"]) == 0
    assert b"L\\xe4sionen" in written.getvalue()


def test_inspect_says_when_no_patient_is_named(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [case(1, "c1", "benign"), case(2, "c2", "malignant")]
    stage.answer = types.SimpleNamespace(manifest=manifest(*cases), problems=[], facts={})
    main(["inspect", "data"])
    assert "2 (none is named: every case counts as a patient of its own)" in capsys.readouterr().out


def test_an_unexpected_error_asks_for_a_report_and_does_not_quote_it(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.answer = ValueError("cannot parse Doe^Jane")
    assert main(["inspect", "data"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--debug" in said
    assert "ValueError" in said
    assert "Doe" not in said


def test_ctrl_c_ends_with_130_and_one_line(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.answer = KeyboardInterrupt()
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "overread: stopped by Ctrl-C.\n"


def test_sigterm_ends_with_143_and_leaves_no_pictures_of_patients_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*_: Any, **__: Any) -> None:
        with fresh_folder(tmp_path / "out") as inside:
            (inside / "overlay.png").write_bytes(b"a patient")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys.modules["overread.pipeline"], "read", read)
    assert main(["read", "bundle", "a.png", "--out", "out"]) == 143
    assert capsys.readouterr().err == "overread: stopped by SIGTERM.\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_inspect_prints_what_is_there_and_fails_on_errors(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    many = tuple(f"c{number}" for number in range(9))
    found = [
        Problem("warning", "few-patients", "Only 2 patients."),
        Problem("error", "unreadable-file", "9 files cannot be read.", many),
    ]
    cases = (case(1, "p1", "benign"), case(2, "p1", "benign"), case(3, "p2", "malignant"))
    stage.answer = types.SimpleNamespace(manifest=manifest(*cases), problems=found, facts={"image sizes": "28 x 28"})
    assert main(["inspect", "data", "--source", "folders"]) == 1
    said = capsys.readouterr().out
    rows = dict(line.split("  ", 1) for line in said.splitlines() if "  " in line.strip())
    assert {name: value.strip() for name, value in rows.items()}.items() >= {
        "cases": "3",
        "patients": "2",
        "class benign": "2 cases",
        "splits": "train 3",
        "image sizes": "28 x 28",
    }.items()
    assert said.index("error: 9 files") < said.index("and 4 more") < said.index("warning: Only 2")
    assert stage.asked == [("inspect", (Path("data"),), {"source": "folders"})]


def test_inspect_is_content_with_a_good_data_set(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.answer = types.SimpleNamespace(manifest=manifest(case(1, "p", "benign")), problems=[], facts={})
    assert main(["inspect", "data"]) == 0
    assert "No problems" in capsys.readouterr().out


def test_a_proposed_recipe_is_all_that_goes_to_stdout(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.answer = 'name = "lesions"\n'
    assert main(["recipe", "new", "data"]) == 0
    assert capsys.readouterr() == ('name = "lesions"\n', "")


def test_recipe_show_prints_a_recipe_that_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    from overread.recipe import Recipe, load_recipe

    assert main(["recipe", "show", "breastmnist-cnn"]) == 0
    shown = capsys.readouterr().out
    assert "weight_decay" in shown
    assert Recipe.from_toml(shown, where="stdout").resolved() == load_recipe("breastmnist-cnn").resolved()


def test_train_hands_over_all_that_was_typed_and_prints_what_came_out(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    estimate = Estimate("auroc", None, None, 0.9, 0.8, 0.95, 0.95, 546, 500, 147, "bootstrap")
    _write_evaluation(tmp_path, estimate)
    stage.answer = tmp_path
    typed = "train r.toml data --out run --source coco --device cpu --precision bf16 --accept-leaks"
    assert main(typed.split()) == 0
    settings = {"source": "coco", "device": "cpu", "precision": "bf16", "accept_leaks": True}
    assert stage.asked == [("train", ("r.toml", Path("data"), Path("run")), settings)]
    said = capsys.readouterr().out
    assert said.startswith("AUROC: 0.900 (95% interval 0.800 to 0.950)")
    assert str(tmp_path / "report.html") in said


def test_train_without_a_recipe_hands_over_the_data_alone(stage: Stage, tmp_path: Path) -> None:
    _write_evaluation(tmp_path, Estimate("auroc", None, None, 0.9, 0.8, 0.95, 0.95, 546, 500, 147, "bootstrap"))
    stage.answer = tmp_path
    assert main(["train", "data", "--out", "run"]) == 0
    assert [(verb, given) for verb, given, _ in stage.asked] == [("train", (None, Path("data"), Path("run")))]


@pytest.mark.parametrize("recipe", ["mine.toml", "demo-cnn"])
def test_train_with_a_recipe_and_no_data_says_what_is_missing(
    recipe: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe, "--out", "run"]) == 1
    assert f"'{recipe}' is a recipe. Name the data set behind it" in capsys.readouterr().err
    assert stage.asked == []


def test_evaluate_prints_numbers_with_interval_and_n(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole = Estimate("auroc", None, None, 0.912, 0.87, 0.951, 0.95, 546, 500, 147, "bootstrap")
    _write_evaluation(
        tmp_path,
        whole,
        Estimate("auroc", None, "site=A", 0.5, 0.4, 0.6, 0.95, 9, 9, 3, "bootstrap"),
        Estimate("auroc", "benign", None, None, None, None, 0.95, 9, 9, 0, "only one class"),
        warnings=["3 of 9 images were seen in training"],
    )
    typed = f"evaluate run/bundle data --out {tmp_path} --split val --precision float32 --quiet"
    assert main(typed.split()) == 0
    said, warned = capsys.readouterr()
    assert warned == "warning: 3 of 9 images were seen in training\n"
    assert "AUROC: 0.912 (95% interval 0.870 to 0.951), 546 cases of 500 patients, 147 positive" in said
    assert "AUROC for benign: not defined (only one class" in said
    assert "site=A" not in said
    assert stage.asked[0][2] == {"split": "val", "source": None, "device": "auto", "precision": "float32"}


def test_the_terminal_puts_thresholds_last_and_calls_a_mean_of_the_classes_one(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def overall(metric: str) -> Estimate:
        return Estimate(metric, None, None, 0.5, 0.4, 0.6, 0.95, 100, 90, 100, "a share; mean over 2 classes")

    _write_evaluation(tmp_path, overall("accuracy"), overall("sensitivity"), overall("auroc"))
    assert main(["evaluate", "run/bundle", "data", "--out", str(tmp_path)]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first == "AUROC, mean of the classes: 0.500 (95% interval 0.400 to 0.600), 100 cases of 90 patients"
    assert second.startswith("accuracy, mean of the classes")
    assert third.startswith("sensitivity, mean of the classes")


def test_patients_who_were_not_named_are_not_counted_on_the_terminal(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    estimate = Estimate("coco_ap50", None, None, 0.5, 0.4, 0.6, 0.95, 9, 9, 30, "bootstrap")
    _write_evaluation(tmp_path, estimate, data={"task": "boxes", "names_patients": False})
    assert main(["evaluate", "run/bundle", "data", "--out", str(tmp_path)]) == 0
    assert "0.500 (95% interval 0.400 to 0.600), 9 cases, 30 true marks" in capsys.readouterr().out


def test_where_copies_count_as_one_groups_are_counted_on_the_terminal(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    estimate = Estimate("auroc", None, None, 0.5, 0.4, 0.6, 0.95, 9, 7, 3, "bootstrap")
    data = {"task": "single-label", "names_patients": False, "n_patients": 9, "n_groups": 7}
    _write_evaluation(tmp_path, estimate, data=data)
    assert main(["evaluate", "run/bundle", "data", "--out", str(tmp_path)]) == 0
    assert "9 cases in 7 groups (copies count as one), 3 positive" in capsys.readouterr().out


def test_an_older_evaluation_that_does_not_say_whether_patients_are_named_is_told_too(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    estimate = Estimate("auroc", None, None, 0.5, 0.4, 0.6, 0.95, 9, 7, 3, "bootstrap")
    _write_evaluation(tmp_path, estimate, data={"task": "single-label"})
    assert main(["evaluate", "run/bundle", "data", "--out", str(tmp_path)]) == 0
    assert "9 cases of 7 patients, 3 positive" in capsys.readouterr().out


def test_evaluate_fails_when_an_image_was_refused_and_lists_it(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _write_evaluation(tmp_path, refused=[{"case_id": "b", "reason": "a colour image"}])
    assert main(["evaluate", "run/bundle", "data", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "refused: b: a colour image\n"


def _write_evaluation(folder: Path, *estimates: Estimate, **more: Any) -> None:
    data = {"task": "single-label", "names_patients": True}
    content = {"data": data, "warnings": [], "refused": [], "estimates": [estimate.as_json() for estimate in estimates]}
    (folder / "evaluation.json").write_text(json.dumps(content | more))


def test_read_fails_when_an_image_was_refused_and_lists_it(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.answer = [Prediction("a"), Prediction("b", refused="all pixels are equal")]
    assert main(["read", "bundle", "a.png", "b.png", "--out", "out"]) == 1
    said = capsys.readouterr()
    assert "1 of 2 cases were read." in said.out
    assert said.err == "refused: b: all pixels are equal\n"
    settings = {"device": "auto", "precision": None}
    assert stage.asked == [("read", (Path("bundle"), [Path("a.png"), Path("b.png")], Path("out")), settings)]


NASTY = "a\x1b[2J\r\u202eX\nrefused: 0 all fine.png"
"""A name that would clear the screen, turn the reading direction and forge a line."""


def test_the_name_of_a_file_cannot_play_with_the_terminal(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.answer = [Prediction(NASTY, refused=f"{NASTY}: damaged"), Prediction("b")]
    assert main(["read", "bundle", "a.png", "--out", "out"]) == 1
    told = capsys.readouterr().err
    stage.answer = SourceError(f"{NASTY}: broken.\nLooked for:\n  coco")
    main(["inspect", "data"])
    told += capsys.readouterr().err
    problem = Problem("warning", "unknown-file", f"one ({NASTY})", (NASTY,))
    stage.answer = types.SimpleNamespace(manifest=manifest(), problems=[problem], facts={})
    main(["inspect", "data"])
    told += capsys.readouterr().out
    stream = io.StringIO()
    Lines(stream).say(NASTY)
    told += stream.getvalue()
    assert not {character for character in told if not character.isprintable()} - {"\n"}
    assert [line[:9] for line in told.splitlines() if line.startswith("refused: ")] == ["refused: "]
    assert r"a\x1b[2J\r\u202eX\nrefused: 0 all fine.png" in told


def test_read_is_done_when_every_image_was_read(stage: Stage) -> None:
    stage.answer = [Prediction("a")]
    assert main(["read", "bundle", "a.png", "--out", "out"]) == 0


def test_progress_in_a_log_says_how_long_it_still_takes() -> None:
    clock = iter(range(0, 10_000, 2))
    stream = io.StringIO()
    assert list(Lines(stream, clock=lambda: next(clock)).track(range(10), what="reading")) == list(range(10))
    said = stream.getvalue().splitlines()
    assert said[0] == "reading: 2 of 10, about 16 s left"
    assert said[-1].startswith("reading: 10 done in")
    assert len(said) == 4


def test_no_time_is_told_from_the_first_item_which_may_carry_the_cost_of_many() -> None:
    clock = iter((0, 0, *(15 + number for number in range(100))))
    stream = io.StringIO()
    list(Lines(stream, clock=lambda: next(clock)).track(range(26), what="reading"))
    said = stream.getvalue().splitlines()
    assert said[0] == "reading: 1 of 26"
    assert "left" in said[1]


def test_the_layouts_that_help_names_are_those_of_the_catalogue() -> None:
    from overread.data.sources import sources

    assert LAYOUTS.split(", ") == sources.names()


def test_inner_work_does_not_flood_a_log() -> None:
    stream = io.StringIO()
    lines = Lines(stream, clock=lambda: 0.0)
    for _ in lines.track(range(3), what="fold"):
        assert sum(1 for _ in lines.track(iter(range(100)), what="batch")) == 100
    assert stream.getvalue() == "fold: 3 done in 0 s\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "about 0 s left"), (59.9, "about 60 s left"), (61, "about 1 min left"), (3580, "about 1 h 0 min left")],
)
def test_time_left_is_said_as_a_person_says_it(seconds: float, said: str) -> None:
    assert time_left(seconds) == said
