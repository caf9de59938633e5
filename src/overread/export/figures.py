"""Curves and differences; no word of a data set stands in them, so that none can be clipped or mistaken for markup."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from overread.evaluation.curves import pr_curve, roc_curve
from overread.export.content import FrocCurve, History

if TYPE_CHECKING:  # slow to import, and the report of a reading has no curves
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, FAINT, WARM = "#0072B2", "#767676", "#D55E00"
_MOST_TICKS = 7  # of an axis whose ticks have words, as wide as "1/512"


def roc_and_pr(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> bytes | None:
    """ROC curve and precision-recall curve of one class, as SVG; None where the cases are all of one kind.

    Args:
        truth: `(case,)`.
        score: `(case,)` in [0, 1].
    """
    if truth.all() or not truth.any():
        return None
    figure, (left, right) = _figure(2)
    roc, pr = roc_curve(truth, score), pr_curve(truth, score)
    left.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
    left.plot(roc.x, roc.y, color=LINE)
    _frame(left, "ROC", "1 - specificity", "sensitivity")
    share = float(truth.mean())
    right.plot([0, 1], [share, share], color=FAINT, linestyle=":", linewidth=1)
    right.step([0, *pr.x], [pr.y[0], *pr.y], where="pre", color=LINE)
    _frame(right, "Precision and recall", "recall (sensitivity)", "precision (PPV)")
    return _svg(figure)


def froc(curve: FrocCurve) -> bytes:
    """FROC curve as SVG; false marks an image go from 1/8 to 8 in doublings, or farther where the curve does."""
    figure, (axes,) = _figure(1)
    axes.step(np.maximum(curve.false_marks, 1e-9), curve.sensitivity, where="post", color=LINE)
    least = float(np.min(curve.false_marks, initial=2**-3, where=curve.false_marks > 0))
    most = float(np.max(curve.false_marks, initial=2**3))
    ticks = [2.0**power for power in range(math.floor(math.log2(least)), 1 + math.ceil(math.log2(most)))]
    axes.set_xscale("log", base=2)
    _frame(axes, "FROC", "false marks an image", "share of true marks found", ends=(ticks[0], ticks[-1]))
    ticks = ticks[:: math.ceil(len(ticks) / _MOST_TICKS)]
    axes.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axes.minorticks_off()
    return _svg(figure)


def learning(history: History) -> bytes:
    """Training loss and, where it was measured, validation score by epoch as SVG; dashed: the epoch that was kept."""
    from matplotlib.ticker import MaxNLocator

    keys = ("train_loss", "validation_score") if history.validated else ("train_loss",)
    figure, panels = _figure(len(keys), width=6.0 / len(keys), height=2.2)
    for axes, key, title in zip(panels, keys, ("training loss", "validation score"), strict=False):
        points = [(row["epoch"], row[key]) for row in history.epochs if row.get(key) is not None]
        axes.plot(*zip(*points, strict=True), color=LINE, marker="." if len(points) < 40 else None)
        if history.chosen is not None:
            axes.axvline(history.chosen, color=FAINT, linestyle="--", linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
    return _svg(figure)


@dataclass(frozen=True)
class Advantage:
    """How much better one of two models is by one number.

    Args:
        words: what was measured.
        value: better where above 0.
        low: lower end of the interval; None where there is none.
        high: upper end likewise.
        amount: whether it is an amount and no share, so that it needs an axis of its own.
        colour: of its mark.
    """

    words: str
    value: float
    low: float | None
    high: float | None
    amount: bool
    colour: str


def advantages(panels: Sequence[tuple[str, Sequence[Advantage]]], said: str) -> bytes:
    """Differences with their intervals, one panel a pair of models, as PNG; right of the line is better.

    All panels have one scale, so that what looks larger is larger; amounts have one of their own.

    Args:
        panels: the title of each, and its rows from the top.
        said: a line below all of them.
    """
    from matplotlib.figure import Figure

    parts = [
        (title if not amount else "", [row for row in rows if row.amount is amount])
        for title, rows in panels
        for amount in (False, True)
    ]
    parts = [(title, rows) for title, rows in parts if rows]
    heights = [len(rows) + 2.1 for _, rows in parts]
    figure = Figure(figsize=(9.0, 0.36 * sum(heights) + 0.5), layout="constrained", dpi=160)
    for axes, (title, rows) in zip(
        figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0], parts, strict=True
    ):
        alike = [row for _, others in parts for row in others if row.amount is rows[0].amount]
        _advantages(axes, rows, reach=max(map(_farthest, alike)))
        axes.set_title(title, fontsize=11, loc="right", parse_math=False)  # it may be longer than the axes are wide
    figure.supxlabel(said, fontsize=9, color=FAINT, parse_math=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _farthest(row: Advantage) -> float:
    return max(abs(end) for end in (row.value, row.low, row.high) if end is not None)


def _advantages(axes: Axes, rows: Sequence[Advantage], *, reach: float) -> None:
    for place, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=row.colour, linewidth=2.5, solid_capstyle="butt")
        filled = row.colour if row.low is not None else "white"
        axes.plot([row.value], [place], "o", color=row.colour, markerfacecolor=filled, markersize=7)
    axes.axvline(0, color="black", linewidth=1)
    reach = 1.1 * reach or 0.1
    axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -1.1))
    for words, side, colour in (("worse  ", "right", WARM), ("  better", "left", LINE)):
        axes.text(0, -0.75, words, ha=side, va="center", fontsize=9, color=colour)
    axes.set_yticks(range(len(rows)), [row.words for row in rows], fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(visible=True, axis="x", color="#e0e0e0", linewidth=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _figure(panels: int, *, width: float = 3.0, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _frame(axes: Axes, title: str, across: str, up: str, *, ends: tuple[float, float] = (-0.01, 1.01)) -> None:
    axes.set(xlim=ends, ylim=(-0.01, 1.01))
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#e0e0e0", linewidth=0.5)


def _svg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    nothing: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", metadata=nothing)
    return stream.getvalue()
