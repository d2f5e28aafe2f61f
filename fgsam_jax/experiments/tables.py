"""Results as a person reads them."""

from collections.abc import Sequence
from statistics import mean, stdev

_COLUMNS = ("rank-1", "rank-5", "rank-10", "mAP", "mAP trap.", "mAP interp.", "mINP", "queries")

_RULES = {
    "drop_same_identity": "Gallery images of the query's own identity and camera are left out.",
    "keep": "No cameras are known: the whole gallery counts, the query's own camera too.",
}


def report(rows: Sequence[dict]) -> str:
    """All results, then the attributes of the last row, if it has any."""
    text = f"{results_table(rows)}\n{_RULES[rows[0]['evaluation']['same_camera']]}" if rows else ""
    if rows and rows[0]["evaluation"].get("repeated"):
        first = rows[0]["evaluation"]
        text += (
            f"\n{first['repeated']:,} of {first['queries']:,} query images are gallery images too, "
            f"byte for byte: unless the rule leaves these out, the figures are too good."
        )
    attributes = rows[-1]["evaluation"]["attributes"] if rows else {}
    if attributes:
        text += f"\n\nAttributes of {rows[-1]['title']}:\n" + attribute_table(attributes)
    return text


def results_table(rows: Sequence[dict]) -> str:
    """Rank-k, the three mAPs and mINP in percent, one line for each row.

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
    return aligned([["", *_COLUMNS, "mAP plenary", "training"], *lines])


def spread_table(runs: Sequence[Sequence[dict]]) -> str:
    """The figures of `results_table` as mean and standard deviation (of the sample) over runs.

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
    return aligned([["", *_COLUMNS[:-1], "mAP plenary"], *lines])


def attribute_table(attributes: dict[str, dict]) -> str:
    """Accuracy in percent beside what always answering the most frequent class gives."""
    names = ("accuracy", "majority", "balanced_accuracy", "f1")
    rows = [
        [name, *(f"{100 * scores[field]:.1f}" for field in names), str(scores["labelled"])]
        for name, scores in attributes.items()
    ]
    means = [sum(scores[f] for scores in attributes.values()) / len(attributes) for f in names]
    rows.append(["mean", *(f"{100 * mean:.1f}" for mean in means), ""])
    head = ["attribute", "accuracy", "majority", "balanced", "F1", "images"]
    return aligned([head, *rows])


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
