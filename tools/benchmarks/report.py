"""A run as a page: targets and ratios first, then the figures, each beside the paper's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.drawing import Clock
from benchmarks.experiments import EXPERIMENTS
from benchmarks.figures import FIGURES, Figure, draw_figures
from benchmarks.rows import YARDSTICK, Row, Run, read_rows, read_run, values
from benchmarks.summaries import find_yardsticks, group, plain, summarize
from benchmarks.targets import Verdict, evaluate

REPORT = "README.md"
EMULATED = (
    "This machine is emulated: it runs some 20 to 45 times slower than hardware, and not all of it equally so."
    " Only ratios within this run mean anything."
)
COUNTED = (
    "This machine counts instructions: its clock goes on by one nanosecond with each, so times are numbers of"
    " instructions, and one that waits for another processor counts that one's too."
)


def write_report(directory: Path) -> Path:
    """Write the page and the pictures of a run from its files; return the page. Raises `BadRows`."""
    rows, run = read_rows(directory), read_run(directory)
    footer = "emulated: only ratios count" if run.is_emulated else ""
    drawn = draw_figures(rows, directory, make_clocks(rows, run), footer)
    page = directory / REPORT
    page.write_text(render(rows, run, drawn), encoding="utf-8")
    return page


def make_clocks(rows: Sequence[Row], run: Run) -> dict[str, Clock]:
    """Return how times of each experiment are shown: as multiples of its yardstick where its machine is emulated."""
    yardsticks = find_yardsticks(rows) if run.is_emulated else {}
    experiments = {row.experiment for row in rows}
    return {name: Clock(yardstick_ms=yardsticks.get(name)) for name in experiments}


def render(rows: Sequence[Row], run: Run, drawn: Sequence[str]) -> str:
    """Return the page."""
    lines = ["# Benchmarks", ""]
    lines += [f"> **{warning}**\n" for warning in warnings(run)]
    lines += ["## Targets", "", *render_targets(evaluate(rows)), ""]
    lines += ["## Ratios", "", *render_ratios(rows), ""]
    lines += ["## Figures", ""]
    for figure in FIGURES:
        lines += render_figure(figure, run, is_drawn=figure.name in drawn)
    lines += ["## Other measurements", "", *render_others(rows), ""]
    lines += ["## The run", "", *render_run(run), ""]
    lines += ["How all this was measured is told in `docs/benchmarks/README.md` of the project."]
    lines += [
        "[rows.csv](rows.csv) has every value, [run.json](run.json) what the run says of itself.",
        "",
    ]
    return "\n".join(lines)


def warnings(run: Run) -> list[str]:
    """Return what a reader has to know before all else."""
    failed = ", ".join(each.experiment for each in run.outcomes if each.failure)
    return [
        *([COUNTED] if run.counts_instructions else [EMULATED] if run.is_emulated else []),
        *(
            [f"These experiments failed, and what they did not get to is missing: {failed}."]
            if failed
            else []
        ),
        *([f"A trial run: its scale was {run.scale}."] if run.scale != "paper" else []),
    ]


def render_targets(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the table of targets."""
    rows = [(each.target.measure, each.shown, each.target.goal, each.met) for each in verdicts]
    return table(("measure", "this run", "target", "met?"), rows)


def render_ratios(rows: Sequence[Row]) -> list[str]:
    """Return the medians of all creates of one client, against the yardstick and against one from the pool."""
    yardstick = values(rows, "create", YARDSTICK, "create")
    pooled = values(rows, "create", "noxs+split", "create")
    if not yardstick or not pooled:
        return ["The experiment `create` has not been measured."]
    lines = []
    for kind, found in group(rows).items():
        if kind.experiment == "create":
            each = summarize(found)
            against = (plain(each.p50 / median(base)) for base in (yardstick, pooled))
            name = f"{kind.contender}: {kind.metric}"
            lines.append((name, *against, plain(each.p50), plain(each.p99), each.n))
    head = (
        "",
        "/ fork+exec+wait of /bin/true",
        "/ create from the pool",
        "p50, ms",
        "p99, ms",
        "n",
    )
    return table(head, lines)


def render_figure(figure: Figure, run: Run, *, is_drawn: bool) -> list[str]:
    """Return the section of one figure."""
    lines = [f"### {figure.title}", ""]
    if is_drawn:
        lines += [f"![{figure.title}]({figure.name}.png)", ""]
    for outcome in run.outcomes:
        if outcome.experiment == figure.experiment:
            if outcome.failure:
                lines += [f"Failed: `{outcome.failure}`", ""]
            lines += [f"- {note}" for note in outcome.notes] + ([""] if outcome.notes else [])
    if not is_drawn:
        lines += ["Not measured in this run.", ""]
    return [
        *lines,
        f"The paper: {figure.paper}" if figure.paper else "The paper has no such figure.",
        "",
    ]


def render_others(rows: Sequence[Row]) -> list[str]:
    """Return the medians of all that has no figure and is not in the table of ratios."""
    shown = {"create", "growth", "toolstacks"}
    lines = [
        (kind.name, plain(each.p50), plain(each.p99), kind.unit, each.n)
        for kind, found in group(rows).items()
        if kind.experiment not in shown
        for each in (summarize(found),)
    ]
    return table(("", "p50", "p99", "unit", "n"), lines)


def render_run(run: Run) -> list[str]:
    """Return machine, versions, and what became of each experiment."""
    about = {each.name: each.about for each in EXPERIMENTS}
    outcomes = [
        (
            each.experiment,
            about.get(each.experiment, ""),
            f"{each.seconds:.0f} s",
            each.failure or "done",
        )
        for each in run.outcomes
    ]
    return [
        *table(("", ""), run.machine.items()),
        "",
        *table(("experiment", "about", "took", "outcome"), outcomes),
    ]


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> list[str]:
    """Return a table in Markdown."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *cells)]


def render_verdicts(rows: Sequence[Row]) -> str:
    """Return the targets as text for a terminal."""
    lines = [
        f"{each.target.measure[:78]:78} {each.shown:>14} {each.target.goal:>22}  {each.met}"
        for each in evaluate(rows)
    ]
    return "\n".join(lines)
