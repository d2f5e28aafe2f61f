"""The table and the plot of an experiment from what its runs have left."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from fgsam_jax.config import Config, to_dict
from fgsam_jax.errors import InputError
from fgsam_jax.experiments import tables
from fgsam_jax.experiments.studies.catalogue import STUDIES
from fgsam_jax.experiments.studies.rows import Row
from fgsam_jax.experiments.studies.runs import Experiment, result
from fgsam_jax.runtime.output import write_atomically
from fgsam_jax.visualization.intervals import interval_chart, svg_file
from fgsam_jax.visualization.page import Element, document, element, section
from fgsam_jax.visualization.page import table as html_table

_COLUMNS = ("rank-1", "rank-5", "rank-10", "mAP", "mINP", "mAP plenary")  # the JSON has all


@dataclass(frozen=True)
class Line:
    """A row of the table with what its runs have given.

    Attributes:
      row: of the experiment.
      found: by seed, a row of results.
      lacking: by seed, why there is none.
    """

    row: Row
    found: dict[int, dict[str, Any]]
    lacking: dict[int, str]

    @property
    def scored(self) -> dict[int, dict[str, Any]]:
        """Those of `found` that are of a trained model."""
        return {seed: found for seed, found in self.found.items() if found["evaluation"]}

    def values(self, figure: str) -> dict[int, float]:
        """By seed, "rank-1" or "mAP" in percent."""
        scores = {seed: found["evaluation"]["scores"] for seed, found in self.scored.items()}
        return {
            seed: 100 * (x["map"] if figure == "mAP" else x["cmc"][0]) for seed, x in scores.items()
        }


def collected(experiment: Experiment) -> list[Line]:
    """The lines of the table, from the runs' folders."""
    lines = []
    for row in experiment.rows:
        line = Line(row, {}, {})
        for (name, seed), run in experiment.runs.items():
            if name != row.run:
                continue
            try:
                line.found[seed] = result(row, run)
            except InputError as error:
                line.lacking[seed] = str(error)
        lines.append(line)
    return lines


def cells(lines: Sequence[Line]) -> list[list[str]]:
    """Mean and standard deviation of the sample over seeds, in percent; headings first.

    "mAP gain" is what a row has more than the first of its group, seed by seed. The number of seeds
    is at the end.
    """
    table = []
    firsts = {line.row.group: line for line in reversed(lines)}
    beside = list(dict.fromkeys(x for a in lines for b in a.found.values() for x in b["beside"]))
    for line in lines:
        head, *rest = tables.spread_cells([[row] for row in line.scored.values()])
        figures = [rest[0][head.index(name)] if rest else "–" for name in _COLUMNS]
        first = firsts[line.row.group]
        own, reference = line.values("mAP"), first.values("mAP")
        gains = [own[seed] - reference[seed] for seed in own if seed in reference]
        gain = "" if line is first else _spread(gains, "+.2f")
        others = [
            _spread([found["beside"][name] for found in line.found.values()], ".3g")
            for name in beside
        ]
        table.append([line.row.title, *figures, gain, *others, f"{len(line.found)}"])
    return [["", *_COLUMNS, "mAP gain", *beside, "seeds"], *table]


def _spread(values: Sequence[float], how: str) -> str:
    """Mean and standard deviation of the sample."""
    if not values:
        return "–"
    return f"{mean(values):{how}} ± {stdev(values) if values[1:] else 0:{how.strip('+')}}"


def notes(lines: Sequence[Line]) -> list[str]:
    """What is lacking, and why."""
    said: dict[tuple[str, int, str], str] = {}
    for line in lines:
        for seed, why in line.lacking.items():
            said.setdefault((line.row.run, seed, why), line.row.title)
    return [f"{title}, seed {seed}: {why}" for (_, seed, why), title in said.items()]


def write_tables(experiment: Experiment, base: Config, command: str) -> str:
    """Write table.txt, table.json, table.html and plots as SVG into the experiment's folder.

    Args:
      experiment: finished or not.
      base: its base configuration.
      command: that makes it, to be shown.

    Returns:
      The table as text.
    """
    lines = collected(experiment)
    about = inspect.getdoc(STUDIES[experiment.name].rows) or ""
    about = " ".join(about.split())
    text = "\n".join([tables.aligned(cells(lines)), *notes(lines)])
    charts = _charts(experiment, lines)
    page = document(
        experiment.name,
        element("p", about),
        element("p", command, class_="faint"),
        html_table(cells(lines)),
        *(element("p", note) for note in notes(lines)),
        section(
            "Mean (dot), standard deviation of the sample (bar), seeds (ticks)", *charts.values()
        ),
    )
    experiment.folder.mkdir(parents=True, exist_ok=True)
    files = {
        "table.txt": f"{about}\n{command}\n\n{text}\n",
        "table.json": json.dumps(_plain(experiment, lines, base, command), indent=1),
        "table.html": page,
        **{f"{name}.svg": svg_file(chart) for name, chart in charts.items()},
    }
    for name, content in files.items():
        write_atomically(experiment.folder / name, content)
    return text


def _charts(experiment: Experiment, lines: Sequence[Line]) -> dict[str, Element]:
    """A chart for each group of rows, by the name of its file."""
    charts = {}
    for group in dict.fromkeys(line.row.group for line in lines):
        rows = {
            line.row.title: {
                figure: list(line.values(figure).values()) for figure in ("mAP", "rank-1")
            }
            for line in lines
            if line.row.group == group
        }
        name = f"{experiment.name}_{group}" if group else experiment.name
        charts[name.lower()] = interval_chart(f"{name}: mAP and rank-1 in percent", rows)
    return charts


def _plain(
    experiment: Experiment, lines: Sequence[Line], base: Config, command: str
) -> dict[str, Any]:
    rows = []
    for line in lines:
        seeds = {
            seed: {name: found["evaluation"][name] for name in ("scores", "plenary")}
            for seed, found in line.scored.items()
        }
        spread = {}
        for figure in ("rank-1", "mAP"):
            values = list(line.values(figure).values())
            deviation = stdev(values) if values[1:] else 0.0
            spread[figure] = {"mean": mean(values), "deviation": deviation} if values else None
        rows.append(
            {
                "title": line.row.title,
                "group": line.row.group,
                "run": line.row.run,
                "phase": line.row.phase,
                "percent": spread,
                "seeds": seeds,
                "beside": {seed: found["beside"] for seed, found in line.found.items()},
                "lacking": line.lacking,
            }
        )
    return {
        "experiment": experiment.name,
        "command": command,
        "rows": rows,
        "base": to_dict(base),
    }
