"""Runs side by side: seeds, ablations."""

from collections.abc import Sequence

from fgsam_jax.experiments import tables
from fgsam_jax.experiments.report.curves import collapsed, score_curve
from fgsam_jax.experiments.report.files import RunFiles
from fgsam_jax.experiments.report.options import options
from fgsam_jax.experiments.report.single import cmc_chart
from fgsam_jax.visualization.chart import line_chart
from fgsam_jax.visualization.page import Child, Element, document, element, section
from fgsam_jax.visualization.page import table as html_table


def compared(runs: Sequence[RunFiles]) -> str:
    """The comparison of several runs as HTML."""
    names = _names(runs)
    named = dict(zip(names, runs, strict=True))
    titles = dict.fromkeys(row["title"] for run in runs for row in run.rows)
    return document(
        f"{len(runs)} runs side by side",
        element("p", ", ".join(f"{name} ({run.finished})" for name, run in named.items())),
        section("What differs", *_differences(named)),
        section("Results", *_results(named, list(titles))),
        section("By epoch", element("div", *_curves(named), class_="row")),
        section("Cumulative matching (CMC)", element("div", *_cmc(named, titles), class_="row")),
        _attributes(named),
        section("Time, memory and collapse", html_table(_costs(named))),
    )


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """The folders' names, or their paths where two have one name."""
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.folder) for run in runs]


def _differences(named: dict[str, RunFiles]) -> list[Child]:
    found = [options(run.config) for run in named.values()]
    every = dict.fromkeys(name for values in found for name in values)
    rows = [[name, *(values.get(name, "–") for values in found)] for name in every]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return [element("p", "No option but, it may be, paths and first weights.")]
    return [html_table([["option", *named], *rows], kind="text")]


def _results(named: dict[str, RunFiles], titles: list[str]) -> list[Child]:
    """A table for each row that a run's own table has; mean and spread where seeds alone differ."""
    found: list[Child] = []
    for title in titles:
        rows = [
            {**row, "title": name}
            for name, run in named.items()
            for row in run.rows
            if row["title"] == title
        ]
        found.append(html_table(tables.results_cells(rows), caption=title))
    runs = [run.rows for run in named.values()]
    seeds = [
        {k: v for k, v in options(run.config).items() if k not in ("seed", "data.split_seed")}
        for run in named.values()
    ]
    same_rows = len({tuple(row["title"] for row in rows) for rows in runs}) == 1
    if same_rows and all(values == seeds[0] for values in seeds):
        caption = f"Mean and standard deviation of {len(runs)} seeds"
        found.append(html_table(tables.spread_cells(runs), caption=caption))
    return found


def _phases(named: dict[str, RunFiles]) -> dict[str, str]:
    """Titles of the phases that some run has, by name."""
    return {
        phase["name"]: phase["title"] or phase["name"]
        for run in named.values()
        for phase in run.phases
        if run.epochs.get(phase["name"])
    }


def _curves(named: dict[str, RunFiles]) -> list[Element]:
    charts = []
    for phase, title in _phases(named).items():
        scores = {name: score_curve(run, phase, "mAP") for name, run in named.items()}
        if any(len(curve) > 1 for curve in scores.values()):
            charts.append(line_chart(f"{title}: mAP in %", scores))
        total = {name: run.curve(phase, "mean", "total") for name, run in named.items()}
        charts.append(line_chart(f"{title}: sum of all losses", total))
    return charts


def _cmc(named: dict[str, RunFiles], titles: dict[str, None]) -> list[Element]:
    charts = []
    for title in titles:
        rows = {
            name: row
            for name, run in named.items()
            for row in run.rows
            if row["title"] == title and "headline" in row  # not of the mean colour
        }
        if rows:
            charts.append(cmc_chart(rows, title))
    return charts


def _attributes(named: dict[str, RunFiles]) -> Element | None:
    told = {name: run.rows[-1]["evaluation"]["attributes"] for name, run in named.items()}
    kinds = dict.fromkeys(kind for attributes in told.values() for kind in attributes)
    if not kinds:
        return None
    rows = []
    for kind in kinds:
        scores = [attributes.get(kind) for attributes in told.values()]
        majority = next(x["majority"] for x in scores if x)
        cells = [f"{100 * x['accuracy']:.1f}" if x else "–" for x in scores]
        rows.append([kind, f"{100 * majority:.1f}", *cells])
    table = html_table([["accuracy in %", "majority", *named], *rows])
    return section("Attributes of the last phase", table)


def _costs(named: dict[str, RunFiles]) -> list[list[str]]:
    rows = []
    for name, run in named.items():
        results = run.results.values()
        seconds = sum(result.get("seconds", 0) for result in results)
        memory = max((r.get("memory", {}).get("host", 0) for r in results), default=0)
        fallen = {branch for phase in run.phases for branch in collapsed(run, phase["name"])}
        told = f"{memory / 2**20:,.0f} MiB" if memory else "–"
        rows.append([name, f"{seconds:,.0f} s", told, ", ".join(sorted(fallen)) or "none"])
    return [["run", "training", "most memory", "collapsed branches"], *rows]
