"""The figures of a report: what each shows, what the paper had, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks.drawing import (
    Clock,
    Series,
    draw_bars,
    draw_distribution,
    draw_growth,
    draw_stacks,
    finish_times,
    new_canvas,
    save,
)
from benchmarks.rows import Row, select, values

Rows = Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: `draw` fills its panels, and returns whether there was anything to draw."""

    name: str
    title: str
    experiment: str
    paper: str
    draw: Callable[[Rows, list[Axes], Clock], bool]
    panels: int = 1
    stacked: bool = False


def contenders(rows: Rows, experiment: str, metric: str) -> list[str]:
    """Return who has rows of a metric, in the order in which they come."""
    return list(dict.fromkeys(row.contender for row in select(rows, experiment, metric=metric)))


def growth_of(
    experiment: str, metrics: Sequence[str], *, only: Sequence[str] = ()
) -> Callable[[Rows, list[Axes], Clock], bool]:
    """Return what draws metrics over the number of instances, one panel each; of some contenders where named."""

    def draw(rows: Rows, panels: list[Axes], clock: Clock) -> bool:
        drawn = False
        for axes, metric in zip(panels, metrics, strict=True):
            series = [
                Series(name=who, x=[row.running for row in found], y=[row.value for row in found])
                for who in only or contenders(rows, experiment, metric)
                if (found := select(rows, experiment, who, metric))
            ]
            if series:
                drawn = True
                if len(metrics) > 1:
                    axes.set_title(metric)
                draw_growth(axes, series, clock)
        return drawn

    return draw


OVERVIEW = {
    "noxs+split": "LightVM, from the pool",
    "lvm create": "LightVM, the command lvm",
    "noxs": "LightVM, without a pool",
    "fork+exec": "fork+exec of /bin/true",
    "crun run": "crun run, a container",
    "podman run": "podman run, a container",
    "xl": "xl create",
}
"""Who is in the picture for everybody, and what he is called there."""


def draw_overview(rows: Rows, panels: list[Axes], clock: Clock) -> bool:
    """Draw the median of the creates of those that need no explanation."""
    who = [name for name in OVERVIEW if values(rows, "create", name, "create")]
    if who:
        times = [median(values(rows, "create", name, "create")) for name in who]
        draw_bars(panels[0], [OVERVIEW[name] for name in who], times, clock)
    return bool(who)


def draw_phases(rows: Rows, panels: list[Axes], clock: Clock) -> bool:
    """Draw the medians of the phases, of what is of one size in a panel: from the pool, cold, and xl."""
    who = contenders(rows, "phases", "total")
    split, xl = [name for name in who if "split" in name], [name for name in who if name == "xl"]
    cold = [name for name in who if name not in split + xl]
    for axes, names in zip(panels, (split, cold, xl), strict=True):
        found = [row for row in rows if row.experiment == "phases" and row.contender in names]
        parts = {
            metric: [
                clock.scale(median(values(found, "phases", name, metric) or [0.0]))
                for name in names
            ]
            for metric in dict.fromkeys(row.metric for row in found)
            if metric != "total"
        }
        if parts:
            draw_stacks(axes, names, parts, clock.label if axes is panels[-1] else "")
    return bool(who)


def draw_standing(metric: str, unit: str) -> Callable[[Rows, list[Axes], Clock], bool]:
    """Return what draws a bar for each kind of instance."""

    def draw(rows: Rows, panels: list[Axes], _: Clock) -> bool:
        found = select(rows, "standing", metric=metric)
        names = [f"{row.contender} ({row.running})" for row in found]
        if found:
            bars = panels[0].barh(names, [max(row.value, 0.0) for row in found], color="#0072B2")
            panels[0].bar_label(bars, [f"{row.value:.3g}" for row in found], padding=4)
            panels[0].set_xlabel(unit)
            panels[0].set_xscale("symlog", linthresh=0.1)
            panels[0].invert_yaxis()
            panels[0].margins(x=0.25)
            panels[0].grid(visible=False, axis="y")
        return bool(found)

    return draw


def distribution_of(
    experiment: str, metric: str, *, like: str = "", log: bool = False
) -> Callable[[Rows, list[Axes], Clock], bool]:
    """Return what draws the distributions of a metric, of the contenders with `like` in their names."""

    def draw(rows: Rows, panels: list[Axes], clock: Clock) -> bool:
        series = [
            Series(name=who, x=(), y=values(rows, experiment, who, metric))
            for who in contenders(rows, experiment, metric)
            if like in who
        ]
        if series:
            draw_distribution(panels[0], series, clock, log=log)
        return bool(series)

    return draw


def draw_arrivals(rows: Rows, panels: list[Axes], clock: Clock) -> bool:
    """Draw how long hits and misses took, and how many hits there were, over the size of the pool."""
    found = select(rows, "storm", "hit", "share")
    if not found:
        return False
    sizes = sorted({row.running for row in found})
    panels[0].bar([str(size) for size in sizes], [row.value for row in found], color="#0072B2")
    panels[0].set_ylabel("creates that found a shell, %")
    panels[0].set_xlabel("shells in the pool")
    for who, colour, marker in (("hit", "#0072B2", "o"), ("miss", "#D55E00", "s")):
        rows_of = select(rows, "storm", who, "create")
        at = [size for size in sizes if any(row.running == size for row in rows_of)]
        times = [median([row.value for row in rows_of if row.running == size]) for size in at]
        scaled = [clock.scale(ms) for ms in times]
        panels[1].plot([str(size) for size in at], scaled, color=colour, marker=marker, label=who)
    panels[1].set_yscale("log")
    panels[1].set_xlabel("shells in the pool")
    finish_times(panels[1], clock)
    return True


FIGURES = (
    Figure(
        name="overview",
        title="One machine, process or container, on a quiet host",
        experiment="create",
        paper="noop without devices 2.3 ms, daytime 4 ms, fork+exec about 1 ms (3.5 ms mean with its parent's load),"
        " xl about 100 ms, Docker about 200 ms: LightVM takes one to two times what a process takes.",
        draw=draw_overview,
    ),
    Figure(
        name="figure-04-create",
        title="Figure 4, creates: as instances become more",
        experiment="growth",
        paper="under xl, first and 1,000th: Debian 500 ms and 42 s, Tinyx 360 ms and 10 s, unikernel 80 ms and 700 ms;"
        " Docker about 200 ms, a process 3.5 ms.",
        draw=growth_of("growth", ("create",)),
    ),
    Figure(
        name="figure-04-11-boot",
        title="Figures 4 and 11, boot: until it runs, as instances become more",
        experiment="growth",
        paper="boot of Debian 1.5 s, Tinyx 180 ms, a unikernel 3 ms; Tinyx under LightVM is about as quick as Docker"
        " up to 750 guests on three cores.",
        draw=growth_of("growth", ("boot",)),
    ),
    Figure(
        name="figure-05",
        title="Figure 5: what a create consists of",
        experiment="phases",
        paper="under xl, XenStore grows to 610 ms of the 1,000th create, devices take about 100 ms throughout, the rest"
        " is small.",
        draw=draw_phases,
        panels=3,
        stacked=True,
    ),
    Figure(
        name="figure-09",
        title="Figure 9: five toolstacks, one unikernel with a vif",
        experiment="toolstacks",
        paper="first and 1,000th: xl 100 ms and 1 s, XS 15 and 80 ms, XS+split up to 25 ms, noxs 8 and 15 ms, LightVM"
        " (noxs+split) 4.0 and 4.1 ms.",
        draw=growth_of("toolstacks", ("create",)),
    ),
    Figure(
        name="destroy",
        title="Destroying, as instances become fewer",
        experiment="toolstacks",
        paper="it has no figure of it, and says that the destruction of noxs devices was not optimised.",
        draw=growth_of("toolstacks", ("destroy",)),
    ),
    Figure(
        name="figure-10",
        title="Figure 10: one more, of thousands",
        experiment="density",
        paper="8,000 noop guests on 64 cores at about 5.5 ms each; Docker 150 ms, 1 s at 3,000, then out of memory.",
        draw=growth_of("density", ("create",)),
    ),
    Figure(
        name="figure-14",
        title="Figure 14: memory for each of them, Xen's and dom0's together",
        experiment="standing",
        paper="for 1,000: Debian 114 GB, Tinyx 27 GB, a Minipython unikernel 5 GB, Docker 5 GB.",
        draw=draw_standing("memory", "MiB for each, logarithmic from 0.1 on"),
    ),
    Figure(
        name="figure-15",
        title="Figure 15: dom0's processor time while nobody asks for anything",
        experiment="standing",
        paper="with 1,000 guests: Debian 25 %, Tinyx 1 %, unikernel 0.3 %, Docker 0.2 %, of all the machine's cores.",
        draw=draw_standing("idle", "% of one processor, logarithmic from 0.1 on"),
    ),
    Figure(
        name="figure-17",
        title="Figure 17: domains made by the first packet for them",
        experiment="jit",
        paper="a client each 25 ms: median 13 ms, 90 % within 20 ms; at 10 ms the bridge lost ARP requests.",
        draw=distribution_of("jit", "first answer"),
    ),
    Figure(
        name="storm",
        title="Clients at once",
        experiment="storm",
        paper="",
        draw=distribution_of("storm", "create", like="client", log=True),
    ),
    Figure(
        name="arrivals",
        title="Random arrivals against the size of the pool",
        experiment="storm",
        paper="",
        draw=draw_arrivals,
        panels=2,
    ),
)


def draw_figures(
    rows: Rows, directory: Path, clocks: Mapping[str, Clock], footer: str
) -> list[str]:
    """Write each figure for whose experiment there is a clock, and rows; return the names of those."""
    drawn = []
    for figure in FIGURES:
        clock = clocks.get(figure.experiment)
        if clock and (canvas := draw_figure(figure, rows, clock)):
            save(canvas, directory / figure.name, footer)
            drawn.append(figure.name)
    return drawn


def draw_figure(figure: Figure, rows: Rows, clock: Clock) -> Canvas | None:
    """Return the canvas of one figure, None where there are no rows for it."""
    canvas, panels = new_canvas(panels=figure.panels, stacked=figure.stacked)
    if not figure.draw(rows, panels, clock):
        return None
    canvas.suptitle(figure.title)
    return canvas
