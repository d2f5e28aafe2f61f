"""The report of one run."""

from fgsam_jax.experiments import tables
from fgsam_jax.experiments.report.curves import losses, scores
from fgsam_jax.experiments.report.files import RunFiles
from fgsam_jax.experiments.report.options import changed_options
from fgsam_jax.experiments.report.pictures import parts, ranked
from fgsam_jax.visualization.chart import line_chart
from fgsam_jax.visualization.page import Child, Element, document, element, heat_table, section
from fgsam_jax.visualization.page import table as html_table

_MIB = 2**20


def reported(run: RunFiles) -> str:
    """The report of one run as HTML."""
    rows = run.rows
    attributes = rows[-1]["evaluation"]["attributes"]
    title = f"{run.name}: {rows[-1]['headline']}"
    return document(
        title,
        element("p", f"{rows[-1]['title']}, finished {run.finished}", class_="faint"),
        section(
            "Results",
            html_table(tables.results_cells(rows)),
            *(element("p", note) for note in tables.notes(rows)),
        ),
        section("What was run", *_what(run)),
        scores(run),
        section(
            "Cumulative matching (CMC)",
            cmc_chart({row["title"]: row for row in _phases_first(rows)}),
        ),
        _camera_pairs(rows[-1]),
        ranked(run),
        parts(run),
        section("Attributes", *_attributes(run, attributes)) if attributes else None,
        *losses(run),
        section("Time and memory", html_table(_costs(run))),
    )


def _phases_first(rows: list[dict]) -> list[dict]:
    """The references at the end: a phase has one colour in all charts."""
    return sorted(rows, key=lambda row: "seconds" not in row)


def cmc_chart(rows: dict[str, dict], title: str = "") -> Element:
    """The CMC of rows of the table by name."""
    found = {
        name: list(enumerate((100 * x for x in row["evaluation"]["scores"]["cmc"]), 1))
        for name, row in rows.items()
    }
    heading = f"{title + ': ' if title else ''}queries with a hit among the first k, in %"
    return line_chart(heading, found, x="k")


def _what(run: RunFiles) -> list[Child]:
    config, about = run.config, run.about
    told = [["data", f"{config['data']['name']}, {config['data']['source']}"]]
    for split, counts in about.get("splits", {}).items():
        text = (
            f"{counts['images']:,} images of {counts['identities']:,} people, "
            f"{counts['cameras']} cameras"
        )
        told.append([split, text])
    init = {name: path for name, path in config["init"].items() if path}
    weights = ", ".join(f"{name} from {path}" for name, path in init.items())
    told.append(["weights", weights or "all from random"])
    told.append(["seed", str(config["seed"])])
    for name in ("machine", "versions"):
        if name in about:
            told.append([name, ", ".join(f"{key} {value}" for key, value in about[name].items())])
    phases = [
        [phase["title"] or phase["name"], *_phase(phase)]
        for phase in run.phases
        if phase["name"] in run.results or not run.results
    ]
    head = ["phase", "model", "starts from", "triplet", "epochs", "batch", "learning rate"]
    changed = changed_options(config)
    return [
        html_table([["", ""], *told], kind="text told"),
        html_table([head, *phases], kind="text"),
        element("h3", "Options that differ from the defaults"),
        element("p", ", ".join(f"{name}={value}" for name, value in changed.items()) or "none"),
    ]


def _phase(phase: dict) -> list[str]:
    names = ("epochs", "batch", "learning_rate")
    start = ", ".join(phase["start_from"]) or "-"
    return [phase["model"], start, phase["triplet"], *(f"{phase[name]:g}" for name in names)]


def _camera_pairs(row: dict) -> Element | None:
    """Rank-1 and mAP of each camera's queries in each camera's gallery."""
    pairs = {(x["query"], x["gallery"]): x for x in row["evaluation"].get("camera_pairs", [])}
    if not pairs:
        return None
    queries, galleries = (sorted({pair[side] for pair in pairs}) for side in (0, 1))

    def of_pair(query: int, gallery: int) -> tuple[float | None, str]:
        if (pair := pairs.get((query, gallery))) is None:
            return None, "–"
        return pair["map"], f"{100 * pair['map']:.1f}"

    cells = [[of_pair(query, gallery) for gallery in galleries] for query in queries]
    matrix = heat_table(
        ["query camera", *(f"in camera {camera}" for camera in galleries)],
        [f"{camera}" for camera in queries],
        [[share for share, _ in line] for line in cells],
        [[text for _, text in line] for line in cells],
    )
    note = (
        f"mAP in percent of {row['title']}, one camera's queries in one camera's gallery, "
        "distractors of that camera included."
    )
    return section("mAP by pair of cameras", element("p", note), matrix)


def _attributes(run: RunFiles, attributes: dict[str, dict]) -> list[Child]:
    found: list[Child] = [
        element(
            "p",
            "Majority is the accuracy of always answering the most frequent class: a head that is "
            "not above it has learned nothing. In the matrices rows are the true class, columns "
            "the answer, shaded by their share of the row.",
        ),
        html_table(tables.attribute_cells(attributes)),
    ]
    classes = run.about.get("classes", {})
    matrices = [
        _confusion(name, scores["confusion"], classes.get(name))
        for name, scores in attributes.items()
        if scores.get("confusion")
    ]
    return [*found, element("div", *matrices, class_="row")]


def _confusion(name: str, counts: list[list[int]], classes: list[str] | None) -> Element:
    classes = classes or [str(number) for number in range(len(counts))]
    shares = [[count / (sum(line) or 1) for count in line] for line in counts]
    texts = [[f"{count:,}" for count in line] for line in counts]
    return heat_table(["", *classes], classes, shares, texts, caption=name)


def _costs(run: RunFiles) -> list[list[str]]:
    lines = []
    for name, result in run.results.items():
        memory = result.get("memory", {})
        held = [f"{memory[x] / _MIB:,.0f} MiB" if x in memory else "–" for x in ("host", "device")]
        seconds = f"{result['seconds']:,.0f} s" if "seconds" in result else "–"
        lines.append([result.get("title", name), seconds, *held])
    head = ["phase", "training", "most memory so far: process", "device"]
    return [head, *lines]
