"""The command line: one command for each verb of the pipeline, and the only module that prints results."""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from overread import __version__
from overread.errors import InputError, OverreadError
from overread.progress import Progress, Silent
from overread.terminal import Bars, Lines, shown

if TYPE_CHECKING:  # these take seconds to import; a command imports what it needs when it runs
    from overread.data.manifest import Manifest, Problem
    from overread.evaluation.estimate import Estimate

DONE, FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
_DISK_ADVICE = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Check that you may read and write there"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room"),
}
DEMO_FOLDER = Path("overread-demo")
LAYOUTS = "coco, dicom, folders, instance-masks, label-maps, medmnist, table, voc"
"""Of the catalogue, which takes too long to ask for a page of help; a test holds them together."""

DATA = "folder or file of the data set"
RECIPE = "a recipe's file, or the name of one that comes with Overread"

Run = Callable[[argparse.Namespace, Progress], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0: done. 1: failed, with the reason on stderr. 2: wrong usage. 130: stopped by Ctrl-C. 143: stopped by
        SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # stderr does so by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    progress: Progress = Silent() if arguments.quiet else Bars() if sys.stderr.isatty() else Lines()
    with _stopping_at_sigterm(), _listening(progress, debug=arguments.debug):
        try:
            run: Run = arguments.run
            code = run(arguments, progress)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt as stop:
            how, code = ("SIGTERM", TERMINATED) if isinstance(stop, _Terminated) else ("Ctrl-C", INTERRUPTED)
            return _failed(f"stopped by {how}.", code, arguments)
        except BrokenPipeError:  # whoever read our output has left, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except OverreadError as error:
            return _failed(_with_notes(str(error), error), FAILED, arguments)
        except OSError as error:
            return _failed(_with_notes(_disk_words(error), error), FAILED, arguments)
        except Exception as error:
            # Its own message stays away: it may quote a header, and with it a patient's name.
            reason = f"an unexpected {type(error).__name__}; run the same again with --debug and report what it prints."
            return _failed(_with_notes(reason, error), FAILED, arguments)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is half written is taken away, and patients' pictures too."""


@contextmanager
def _stopping_at_sigterm() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the clearing up
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # only this one is told of signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_notes(reason: str, error: Exception) -> str:
    """A reason, and what was noted on the way up: where it happened, and what is kept."""
    return "\n".join([reason, *getattr(error, "__notes__", [])])


def _failed(reason: str, code: int, arguments: argparse.Namespace) -> int:
    if arguments.debug:
        traceback.print_exc()
    first, *more = reason.split("\n")
    _say(f"overread: {first}", sys.stderr)
    for line in more:  # further in, so that no line of a message passes for one of ours
        _say(f"  {line}", sys.stderr)
    return code


def _say(line: str, stream: TextIO | None = None) -> None:
    """Print one line; all but the recipes, which are files, comes by here."""
    print(shown(line), file=stream)


def _disk_words(error: OSError) -> str:
    where = "" if error.filename is None else f"'{error.filename}': "
    advice = _DISK_ADVICE.get(error.errno or 0, "Check this place")
    return (
        f"{where}{error.strerror or error}. {advice}, or name another folder; prepared images are kept where "
        "OVERREAD_CACHE says."
    )


class _Tell(logging.Handler):
    """Log lines go where progress goes, so that they do not run into a bar."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).split("\n"):
            self._progress.say(line)


@contextmanager
def _listening(progress: Progress, *, debug: bool) -> Iterator[None]:
    """Show Overread's own log; other libraries' warnings can quote patient data and are shown to --debug only."""
    tell, silence, log = _Tell(progress), logging.NullHandler(), logging.getLogger("overread")
    log.addHandler(tell)
    log.setLevel(logging.DEBUG if debug else logging.WARNING)
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
            logging.getLogger().addHandler(silence)
        try:
            yield
        finally:
            log.removeHandler(tell)
            logging.getLogger().removeHandler(silence)


# ---- commands ------------------------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline

    report = pipeline.demo(arguments.out, quick=arguments.quick, device=arguments.device, progress=progress)
    _say(f"The report is {report}")
    return DONE


def _inspect(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline

    inspection = pipeline.inspect(arguments.data, source=arguments.source, progress=progress)
    rows = [*_summary(inspection.manifest), *((name, str(value)) for name, value in inspection.facts.items())]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        _say(f"{name:<{width}}  {value}")
    return _print_problems(inspection.problems)


def _summary(manifest: Manifest) -> list[tuple[str, str]]:
    cases = manifest.cases
    if manifest.marks_lesions:
        marks = [mark.label for case in cases for mark in case.marks or ()]
        counts, unit = Counter(marks), "marks"
    else:
        counts, unit = Counter(name for case in cases for name, present in case.labels.items() if present), "cases"
    splits = Counter(case.split or "none" for case in cases)
    patients = str(len({case.patient_id for case in cases}))
    if not manifest.names_patients:
        patients += " (none is named: every case counts as a patient of its own)"
    what = f"{manifest.name} ({manifest.source}, {manifest.task}{', simulated' if manifest.simulated else ''})"
    return [
        ("data set", what),
        *((f"column of {role}", ", ".join(names) or "none") for role, names in manifest.columns.items()),
        ("cases", str(len(cases))),
        ("patients", patients),
        *((f"class {name}", f"{counts[name]} {unit}") for name in manifest.classes),
        ("splits", ", ".join(f"{name} {count}" for name, count in sorted(splits.items()))),
    ]


def _print_problems(problems: Sequence[Problem]) -> int:
    errors = [problem for problem in problems if problem.severity == "error"]
    others = [problem for problem in problems if problem.severity != "error"]
    print()
    for problem in (*errors, *others):
        _say(f"{problem.severity}: {problem.message} [{problem.name}]")
        for where in problem.where[:5]:
            _say(f"    {where}")
        if len(problem.where) > 5:
            _say(f"    and {len(problem.where) - 5} more")
    _say(f"{len(errors)} errors, {len(others)} warnings." if problems else "No problems were found.")
    return FAILED if errors else DONE


def _recipe_new(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline

    print(pipeline.propose(arguments.data, source=arguments.source, progress=progress), end="")
    return DONE


def _recipe_show(arguments: argparse.Namespace, _: Progress) -> int:
    from overread import pipeline
    from overread.errors import InputError
    from overread.recipe import load_recipe

    if arguments.data is not None and arguments.pictures is None:
        raise InputError(
            "--data names whose images --pictures shall show. Give --pictures DIR too, or leave --data out."
        )
    if arguments.source is not None and arguments.data is None:
        raise InputError("--source names the layout of what --data names. Give --data DATA too, or leave --source out.")
    print(load_recipe(arguments.recipe).resolved().to_toml(), end="")
    if arguments.pictures is not None:
        written = pipeline.picture_augmentation(
            arguments.recipe, arguments.pictures, data=arguments.data, source=arguments.source
        )
        _say(f"{len(written)} pictures of augmentation are in {arguments.pictures}", sys.stderr)
    return DONE


def _train(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline
    from overread.recipe import shipped_recipes

    recipe, data = (arguments.recipe, arguments.data) if arguments.data else (None, Path(arguments.recipe))
    if recipe is None and (data.suffix == ".toml" or (str(data) in shipped_recipes() and not data.exists())):
        raise InputError(f"'{data}' is a recipe. Name the data set behind it: overread train {data} DATA --out RUN")
    run = pipeline.train(
        recipe,
        data,
        arguments.out,
        source=arguments.source,
        device=arguments.device,
        precision=arguments.precision,
        accept_leaks=arguments.accept_leaks,
        progress=progress,
    )
    return _print_evaluation(run)


def _evaluate(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline

    pipeline.evaluate(
        arguments.bundle,
        arguments.data,
        arguments.out,
        split=arguments.split,
        source=arguments.source,
        device=arguments.device,
        precision=arguments.precision,
        progress=progress,
    )
    return _print_evaluation(arguments.out)


def _print_evaluation(folder: Path) -> int:
    from overread.evaluation.estimate import Estimate
    from overread.export.wording import decides

    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    for warning in evaluation["warnings"]:
        _say(f"warning: {warning}", sys.stderr)
    estimates = [estimate for row in evaluation["estimates"] if (estimate := Estimate(**row)).subgroup is None]
    # first what depends on no threshold: accuracy flatters a data set with one rare class
    for estimate in sorted(estimates, key=lambda one: (one.class_name is not None, decides(one))):
        _say(_estimate_line(estimate, evaluation["data"]))
    _say(f"The report is {folder / 'report.html'}")
    for refused in evaluation["refused"]:
        _say(f"refused: {refused['case_id']}: {refused['reason']}", sys.stderr)
    return FAILED if evaluation["refused"] else DONE


def _estimate_line(estimate: Estimate, data: Mapping[str, Any]) -> str:
    from overread.export.wording import is_mean_of_classes, is_of_images, level_words, name_words, number_words

    name = name_words(estimate) + ("" if estimate.class_name is None else f" for {estimate.class_name}")
    rests_on = f"{estimate.n_cases} cases"
    n_patients = data.get("n_patients", 0)
    if data.get("n_groups", n_patients) < n_patients:
        rests_on += f" in {estimate.n_patients} groups (copies count as one)"
    elif data.get("names_patients", True):
        rests_on += f" of {estimate.n_patients} patients"
    if is_of_images(estimate):
        rests_on += f", {estimate.n_positive} of them with true marks"
    elif data["task"] in ("boxes", "masks"):
        rests_on += f", {estimate.n_positive} true marks"
    elif data["task"] != "reconstruction" and not is_mean_of_classes(estimate):
        rests_on += f", {estimate.n_positive} positive"
    if estimate.value is None:
        return f"{name}: not defined ({estimate.method}; {rests_on})"
    number = number_words(estimate.value)
    if estimate.low is not None and estimate.high is not None:
        low, high = number_words(estimate.low), number_words(estimate.high)
        number += f" ({level_words(estimate.level)} interval {low} to {high})"
    return f"{name}: {number}, {rests_on}"


def _compare(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline
    from overread.export.comparison_tables import comparison_lines

    comparison = pipeline.compare([arguments.reference, *arguments.runs], arguments.out, progress=progress)
    for warning in comparison.warnings:
        _say(f"warning: {warning}", sys.stderr)
    for line in comparison_lines(comparison):
        _say(line)
    _say(f"The report is {arguments.out / 'comparison.html'}")
    return DONE


def _read(arguments: argparse.Namespace, progress: Progress) -> int:
    from overread import pipeline

    predictions = pipeline.read(
        arguments.bundle,
        arguments.images,
        arguments.out,
        device=arguments.device,
        precision=arguments.precision,
        progress=progress,
    )
    refused = [prediction for prediction in predictions if prediction.refused is not None]
    _say(f"{len(predictions) - len(refused)} of {len(predictions)} cases were read.")
    _say(f"The report is {arguments.out / 'report.html'}")
    for prediction in refused:
        _say(f"refused: {prediction.case_id}: {prediction.refused}", sys.stderr)
    return FAILED if refused else DONE


# ---- what may be typed ---------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Wrong usage in one line and where to look."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.format_usage()}overread: {message}\nSee {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="overread",
        description="A second reading of medical images. For research; not a medical device.",
        epilog="example:\n  overread demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_everywhere(parser, default=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = _command(commands, "demo", _demo, "learn from simulated images and show everything that comes out", "demo")
    demo.add_argument("--out", type=Path, default=DEMO_FOLDER, metavar="DIR", help="folder (default: %(default)s)")
    demo.add_argument(
        "--quick", action="store_true", help="fewer patients and one epoch, to try whether everything works"
    )
    _add_device(demo)

    inspect = _command(commands, "inspect", _inspect, "say what a data set is and what is wrong", "inspect images/")
    _add_data(inspect)

    recipe = commands.add_parser(
        "recipe",
        help="propose a recipe, or show one",
        description="Propose a recipe, or show one.",
        epilog="example:\n  overread recipe show breastmnist-cnn",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_everywhere(recipe, default=argparse.SUPPRESS)
    verbs = recipe.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = _command(verbs, "new", _recipe_new, "propose a recipe for a data set", "recipe new images/ > my-recipe.toml")
    _add_data(new)
    show = _command(verbs, "show", _recipe_show, "print a recipe with every setting", "recipe show breastmnist-cnn")
    _add_recipe(show)
    show.add_argument(
        "--pictures", type=Path, metavar="DIR", help="also picture what each set of augmentation makes of images"
    )
    show.add_argument(
        "--data", type=Path, metavar="DATA", help="pictures of its first images (default: of simulated CT)"
    )
    _add_source(show)

    train = _command(commands, "train", _train, "learn from a data set and measure", "train images/ --out run/")
    train.usage = "%(prog)s [RECIPE] DATA --out RUN [options]"
    train.add_argument("recipe", metavar="RECIPE", help=f"{RECIPE}; without it, what 'recipe new' proposes is used")
    # the second of the two, because only the last place may stay empty; so DATA alone arrives as the recipe
    train.add_argument("data", type=Path, nargs="?", metavar="DATA", help=DATA)
    _add_source(train)
    train.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    _add_device(train)
    train.add_argument("--precision", choices=["auto", "float32", "bf16"], help="instead of what the recipe says")
    train.add_argument(
        "--accept-leaks",
        action="store_true",
        help="use official splits as they are though they share patients or images; the report says so first",
    )

    evaluate = _command(
        commands, "evaluate", _evaluate, "measure a bundle on a data set", "evaluate run/bundle images/ --out eval/"
    )
    _add_bundle(evaluate)
    _add_data(evaluate)
    evaluate.add_argument("--out", type=Path, required=True, metavar="EVAL", help="folder of the evaluation")
    evaluate.add_argument("--split", choices=["train", "val", "test"], help="only this split of the data set")
    _add_device(evaluate)
    _add_precision(evaluate)

    compare = _command(
        commands,
        "compare",
        _compare,
        "say which of several runs is better on the same images",
        "compare run/ other-run/ --out comparison/",
    )
    compare.add_argument("reference", type=Path, metavar="RUN", help="folder of a training or an evaluation")
    compare.add_argument("runs", type=Path, nargs="+", metavar="OTHER_RUN", help="held against the first")
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the comparison")

    read = _command(
        commands, "read", _read, "read new images or rows", "read run/bundle images/0031.png --out readings/"
    )
    _add_bundle(read)
    read.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="an image, a folder, a MedMNIST file (.npz) for all its images, or a table of rows or sequences",
    )
    read.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder of the readings")
    _add_device(read)
    _add_precision(read)
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, run: Run, says: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=says,
        description=f"{says[0].upper()}{says[1:]}.",
        epilog=f"example:\n  overread {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_everywhere(parser, default=argparse.SUPPRESS)
    parser.set_defaults(run=run)
    return parser


def _add_everywhere(parser: argparse.ArgumentParser, *, default: bool | str) -> None:
    parser.add_argument("--debug", action="store_true", default=default, help="show where an error came from")
    parser.add_argument("--quiet", action="store_true", default=default, help="show results and errors only")
    parser.add_argument("--version", action="version", version=f"overread {__version__}")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DATA", help=DATA)
    _add_source(parser)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="NAME", help=f"layout, where it is not recognised: {LAYOUTS}")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of a trained bundle")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: %(default)s")


def _add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=["float32", "bf16"], help="default: as the model was measured")
