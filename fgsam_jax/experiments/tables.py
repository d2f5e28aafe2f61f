"""Results as a person reads them."""

from collections.abc import Sequence
from statistics import mean, stdev

_COLUMNS = ("rank-1", "rank-5", "rank-10", "mAP", "mAP trap.", "mAP interp.", "mINP", "queries")

_RULES = {
    "drop_same_identity": "Gallery images of the query's own identity and camera are left out.",
    "keep": "No cameras are known: the whole gallery counts, the query's own camera too.",
}


def report(rows: Sequence[dict]) -> str:
    """All results, what `config.evaluation` asked for, and the attributes of the last row."""
    text = "\n".join([results_table(rows), *notes(rows)]) if rows else ""
    text += further_tables(rows)
    attributes = rows[-1]["evaluation"]["attributes"] if rows else {}
    if attributes:
        text += f"\n\nAttributes of {rows[-1]['title']}:\n" + attribute_table(attributes)
    return text


def further_tables(rows: Sequence[dict]) -> str:
    """What `config.evaluation` asked for, each under its exact name.

    Args:
      rows: as for `results_table`; those without such figures are left out.
    """
    text = ""
    told = [(row["title"], row["evaluation"].get("further", {})) for row in rows]
    names = dict.fromkeys(name for _, further in told for name in further)
    names.pop("camera_pairs", None)  # of earlier versions; the report has them
    for name in names:
        found = [(title, further[name]) for title, further in told if name in further]
        text += f"\n\n{found[0][1]['name']}:\n"
        if name == "verification":
            rates = list(found[0][1]["true_match_rate"])
            head = ["", *(f"TMR at {rate}" for rate in rates), "area", "positives", "negatives"]
            lines = [[title, *_verified(value)] for title, value in found]
            text += aligned([head, *lines])
        elif name == "single_gallery_shot":
            lines = [
                [title, *(f"{100 * value['cmc'][k - 1]:.2f}" for k in (1, 5, 10))]
                for title, value in found
            ]
            text += aligned([["", *_COLUMNS[:3]], *lines])
        else:
            lines = [
                [title, *(f"{100 * x:.2f}" for x in _figures(value)), str(value["valid_queries"])]
                for title, value in found
            ]
            text += aligned([["", *_COLUMNS], *lines])
    return text


def _verified(value: dict) -> list[str]:
    rates = [f"{100 * rate:.2f}" for rate in value["true_match_rate"].values()]
    counts = [f"{value[name]:,}" for name in ("positives", "negatives")]
    return [*rates, f"{100 * value['area']:.2f}", *counts]


def notes(rows: Sequence[dict]) -> list[str]:
    """What a reader of the table must know: the rule for cameras, queries in the gallery."""
    first = rows[0]["evaluation"]
    lines = [_RULES[first["same_camera"]]]
    if first.get("repeated"):
        lines.append(
            f"{first['repeated']:,} of {first['queries']:,} query images are gallery images too, "
            f"byte for byte: unless the rule leaves these out, the figures are too good."
        )
    return lines


def results_table(rows: Sequence[dict]) -> str:
    """`results_cells` as text."""
    return aligned(results_cells(rows))


def results_cells(rows: Sequence[dict]) -> list[list[str]]:
    """Rank-k, the three mAPs and mINP in percent, one line for each row below the headings.

    Args:
      rows: each with "title", "evaluation" (of `Evaluation.to_dict`) and, for trained ones,
        "seconds".
    """
    lines = []
    for row in rows:
        evaluation = row["evaluation"]
        figures = [f"{100 * value:.2f}" for value in _figures(evaluation["scores"])]
        figures.append(str(evaluation["scores"]["valid_queries"]))
        plenary = f"{100 * evaluation['plenary']['map']:.2f}"
        seconds = f"{row['seconds']:.0f} s" if "seconds" in row else ""
        lines.append([row["title"], *figures, plenary, seconds])
    return [["", *_COLUMNS, "mAP plenary", "training"], *lines]


def spread_table(runs: Sequence[Sequence[dict]]) -> str:
    """`spread_cells` as text."""
    return aligned(spread_cells(runs))


def spread_cells(runs: Sequence[Sequence[dict]]) -> list[list[str]]:
    """The figures of `results_cells` as mean and standard deviation (of the sample) over runs.

    Args:
      runs: of the same rows.
    """
    lines = []
    for rows in zip(*runs, strict=True):
        evaluations = [row["evaluation"] for row in rows]
        figures = [[*_figures(e["scores"]), e["plenary"]["map"]] for e in evaluations]
        columns = [[100 * value for value in column] for column in zip(*figures, strict=True)]
        spread = [f"{mean(x):.2f} ± {stdev(x) if len(x) > 1 else 0:.2f}" for x in columns]
        lines.append([rows[0]["title"], *spread])
    return [["", *_COLUMNS[:-1], "mAP plenary"], *lines]


def attribute_table(attributes: dict[str, dict]) -> str:
    """`attribute_cells` as text."""
    return aligned(attribute_cells(attributes))


def attribute_cells(attributes: dict[str, dict]) -> list[list[str]]:
    """Accuracy in percent beside what always answering the most frequent class gives."""
    names = ("accuracy", "majority", "balanced_accuracy", "f1")
    rows = [
        [name, *(f"{100 * scores[field]:.1f}" for field in names), str(scores["labelled"])]
        for name, scores in attributes.items()
    ]
    means = [sum(scores[f] for scores in attributes.values()) / len(attributes) for f in names]
    rows.append(["mean", *(f"{100 * mean:.1f}" for mean in means), ""])
    head = ["attribute", "accuracy", "majority", "balanced", "F1", "images"]
    return [head, *rows]


def _figures(scores: dict) -> list[float]:
    ranks = [scores["cmc"][k - 1] for k in (1, 5, 10)]
    return [
        *ranks,
        scores["map"],
        scores["map_trapezoid"],
        scores["map_interpolated"],
        scores["minp"],
    ]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells each: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
