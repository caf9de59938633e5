"""Curves as SVG; no word of a data set stands in them, so that none can be clipped or mistaken for markup."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from overread.evaluation.curves import pr_curve, roc_curve
from overread.export.content import FrocCurve, History

if TYPE_CHECKING:  # slow to import, and the report of a reading has no curves
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, FAINT = "#0072B2", "#767676"
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
