"""How plots look, and the few kinds of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.summaries import plain

# Okabe and Ito's colours, which differ for every kind of colour vision; beside them markers differ, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
SIZE_INCHES, DOTS_PER_INCH = (8.0, 4.4), 120
MOST_SERIES = 6
BINS = 24
matplotlib.use("agg")
matplotlib.rcParams |= {
    "font.size": 11,
    "svg.hashsalt": "lightvm",  # the same figures give the same file
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How times are shown: in ms, or where only ratios count in multiples of a yardstick, with ms at the right."""

    yardstick_ms: float | None

    def scale(self, ms: float) -> float:
        """Return a time in the unit of the axis."""
        return ms if self.yardstick_ms is None else ms / self.yardstick_ms

    @property
    def label(self) -> str:
        """What the axis says."""
        return "ms" if self.yardstick_ms is None else "multiples of fork+exec of /bin/true"

    def add_milliseconds(self, axes: Axes, *, horizontal: bool = False) -> None:
        """Show the ms of this run on the other side, where the axis is one of ratios."""
        if self.yardstick_ms is None:
            return
        yardstick = self.yardstick_ms
        there, back = (lambda x: x * yardstick), (lambda x: x / yardstick)
        side = (
            axes.secondary_xaxis("top", functions=(there, back))
            if horizontal
            else axes.secondary_yaxis("right", functions=(there, back))
        )
        (side.set_xlabel if horizontal else side.set_ylabel)("ms in this run", color="#666666")
        write_plainly(side.xaxis if horizontal else side.yaxis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one contender."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def new_canvas(*, panels: int = 1, stacked: bool = False) -> tuple[Canvas, list[Axes]]:
    """Return a canvas with so many plots, beside or below each other."""
    canvas = Canvas(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    rows, columns = (panels, 1) if stacked else (1, panels)
    return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def save(canvas: Canvas, target: Path, footer: str) -> None:
    """Write a canvas as PNG and SVG, without the moment it was made."""
    if footer:
        canvas.supxlabel(footer, fontsize=8, color="#AA0000")
    canvas.savefig(target.with_suffix(".png"), metadata={"Software": None})
    canvas.savefig(target.with_suffix(".svg"), metadata={"Date": None})


def draw_growth(axes: Axes, series: Sequence[Series], clock: Clock) -> None:
    """Draw times over the number of instances that ran: each as a faint dot, and medians as a line."""
    for index, each in enumerate(series[:MOST_SERIES]):
        colour = COLOURS[index]
        x, y = np.asarray(each.x) + 1.0, np.asarray([clock.scale(ms) for ms in each.y])
        axes.plot(x, y, ".", color=colour, alpha=0.12, markersize=3, rasterized=True)
        middles = binned(x, y)
        axes.plot(
            *zip(*middles, strict=True),
            color=colour,
            marker=MARKERS[index],
            markersize=4,
            label=each.name,
        )
    axes.set_yscale("log")
    axes.set_xlabel("instances, the new one included")
    finish_times(axes, clock)


def binned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Return the medians of neighbours: of as many bins of equal width as there is room for."""
    edges = np.linspace(x.min(), x.max() + 1e-9, BINS + 1)
    places = np.clip(np.digitize(x, edges) - 1, 0, BINS - 1)
    return [
        (float(np.median(x[places == place])), float(np.median(y[places == place])))
        for place in range(BINS)
        if np.any(places == place)
    ]


def draw_bars(axes: Axes, names: Sequence[str], times: Sequence[float], clock: Clock) -> None:
    """Draw one horizontal bar for each, the least on top, each with its value."""
    order = sorted(range(len(names)), key=lambda index: -times[index])
    widths = [clock.scale(times[index]) for index in order]
    bars = axes.barh([names[index] for index in order], widths, color=COLOURS[0])
    for bar, index in zip(bars, order, strict=True):
        if names[index].startswith("LightVM"):
            bar.set_color(COLOURS[1])
    axes.bar_label(bars, [plain(width) for width in widths], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(min(widths) / 2, max(widths) * 4)
    axes.set_xlabel(clock.label)
    axes.grid(visible=False, axis="y")
    write_plainly(axes.xaxis)
    clock.add_milliseconds(axes, horizontal=True)


def draw_stacks(
    axes: Axes, names: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str
) -> None:
    """Draw one horizontal bar for each name, of parts one after the other."""
    start = np.zeros(len(names))
    for index, (part, widths) in enumerate(parts.items()):
        axes.barh(list(names), widths, left=start, color=COLOURS[index], label=part)
        start += np.asarray(widths)
    axes.set_xlabel(unit)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, labelspacing=0.2)


def draw_distribution(axes: Axes, series: Sequence[Series], clock: Clock, *, log: bool) -> None:
    """Draw which share of the values is no greater than each time."""
    for index, each in enumerate(series[:MOST_SERIES]):
        times = np.sort([clock.scale(ms) for ms in each.y])
        shares = np.arange(1, len(times) + 1) / len(times)
        axes.step(times, 100 * shares, where="post", color=COLOURS[index], label=each.name)
    if log:
        axes.set_xscale("log")
        write_plainly(axes.xaxis)
    axes.set_xlabel(clock.label)
    axes.set_ylabel("answered, %")
    axes.legend(loc="lower right")
    clock.add_milliseconds(axes, horizontal=True)


def finish_times(axes: Axes, clock: Clock) -> None:
    """Label the axis of times, and name the series."""
    axes.set_ylabel(clock.label)
    write_plainly(axes.yaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), ncols=3)
    clock.add_milliseconds(axes)


def write_plainly(axis: Axis) -> None:
    """Write numbers as people do, also where a logarithmic axis would have powers of ten."""
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())
