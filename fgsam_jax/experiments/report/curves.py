"""Curves of a report: scores and losses by epoch, and whether a branch collapses."""

from fgsam_jax.experiments.report.files import Curve, RunFiles
from fgsam_jax.visualization.chart import line_chart
from fgsam_jax.visualization.page import Element, element, section, table

_SIGNS = ("d_ap", "d_an", "lambda", "active")
_ASIDE = {"total", "identity_accuracy", *_SIGNS}
# Descriptors have length 1, and distances reach to 2.
_COLLAPSED = 0.1
_HOW_OFTEN = (
    "Dots are scores at a phase's end; config.log.evaluate_every scores every so many epochs too."
)


def scores(run: RunFiles) -> Element:
    """Rank-1, mAP and the accuracy of the identity classifier by epoch."""
    charts = element("div", *_scores(run, _trained(run)), class_="row")
    return section("Scores by epoch", element("p", _HOW_OFTEN), charts)


def losses(run: RunFiles) -> list[Element]:
    """The losses of each phase by epoch, and the signs of collapse where triplets are trained."""
    charts = [chart for name in _trained(run) for chart in _losses(run, name)]
    shown = [section("Losses by epoch", element("div", *charts, class_="row"))] if charts else []
    return [*shown, *(_collapse(run, name) for name in _trained(run) if _signs(run, name))]


def _trained(run: RunFiles) -> list[str]:
    return [phase["name"] for phase in run.phases if run.epochs.get(phase["name"])]


def score_curve(run: RunFiles, phase: str, name: str) -> Curve:
    """Rank-1 ("rank-1") or mAP ("mAP") in percent by epoch, with that of the finished phase."""
    found = {x: 100 * y for x, y in run.curve(phase, "scores", name)}
    evaluation = run.results.get(phase, {}).get("evaluation")
    ends = [line["epoch"] for line in run.epochs.get(phase, [])]
    if evaluation and ends and max(ends) not in found:
        scores = evaluation["scores"]
        found[max(ends)] = 100 * (scores["map"] if name == "mAP" else scores["cmc"][0])
    return sorted(found.items())


def grouped(run: RunFiles, phase: str) -> dict[str, Curve]:
    """The loss terms of a phase by epoch, of several of one kind the mean."""
    groups: dict[str, list[Curve]] = {}
    for figure in run.figures(phase):
        kind = figure.partition("/")[0]
        if kind not in _ASIDE:
            groups.setdefault(kind, []).append(run.curve(phase, "mean", figure))
    return {kind: _mean(curves) for kind, curves in groups.items()}


def _scores(run: RunFiles, trained: list[str]) -> list[Element]:
    """The phases one after the other on one axis."""
    titles = {phase["name"]: phase["title"] or phase["name"] for phase in run.phases}
    found: dict[str, dict[str, Curve]] = {"mAP": {}, "rank-1": {}, "identity accuracy": {}}
    begin = 0.0
    for name in trained:
        accuracy = run.curve(name, "mean", "identity_accuracy")
        if not accuracy:
            continue  # the pose phase
        for kind, shown in found.items():
            curve = (
                [(x, 100 * y) for x, y in accuracy]
                if kind == "identity accuracy"
                else score_curve(run, name, kind)
            )
            shown[titles[name]] = [(begin + x, y) for x, y in curve]
        begin += max(x for x, _ in accuracy)
    return [
        line_chart(
            f"{kind} in %{' of training batches' if kind == 'identity accuracy' else ''}",
            shown,
            x="epoch, the phases one after the other",
        )
        for kind, shown in found.items()
    ]


def _losses(run: RunFiles, name: str) -> list[Element]:
    title = next(phase["title"] or name for phase in run.phases if phase["name"] == name)
    total = {"total": run.curve(name, "mean", "total")}
    terms = grouped(run, name)
    charts = [line_chart(f"{title}: sum of all losses", total)]
    if len(terms) > 1:
        charts.append(line_chart(f"{title}: terms, the mean of each kind", terms, low=0))
    return charts


def _signs(run: RunFiles, phase: str) -> dict[str, dict[str, Curve]]:
    """{sign: {branch: its curve}} of a phase with a triplet loss."""
    found: dict[str, dict[str, Curve]] = {}
    for figure in run.figures(phase):
        sign, _, branch = figure.partition("/")
        if sign in _SIGNS and branch:
            curve = run.curve(phase, "mean", figure)
            found.setdefault(sign, {})[branch.replace("_", " ")] = curve
    return {sign: found[sign] for sign in _SIGNS} if len(found) == len(_SIGNS) else {}


def collapsed(run: RunFiles, phase: str) -> list[str]:
    """The branches whose embeddings are all alike in the last epoch."""
    distances = _signs(run, phase).get("d_an", {})
    return [branch for branch, curve in distances.items() if curve[-1][1] < _COLLAPSED]


def _collapse(run: RunFiles, phase: str) -> Element:
    signs, fallen = _signs(run, phase), collapsed(run, phase)
    title = next(x["title"] or phase for x in run.phases if x["name"] == phase)
    said = f"Collapsed: {', '.join(fallen)}." if fallen else "No branch has collapsed."
    note = (
        "Distances to the hardest positive (d_ap) and negative (d_an) of a batch, between unit "
        "vectors. Where a branch collapses, both are near each other and near 0 (here: d_an below "
        f"{_COLLAPSED}). Lambda is the focal weight, 1 for an easy triplet; active is the share of "
        "triplets with a loss. Without active triplets nothing is learned any more."
    )
    branches = list(signs["d_ap"])
    last = [[x, *(f"{signs[sign][x][-1][1]:.3f}" for sign in _SIGNS)] for x in branches]
    charts = [line_chart(sign, curves, low=0) for sign, curves in signs.items()]
    return section(
        f"Signs of collapse: {title}",
        element("p", element("strong", said), " " + note),
        table([["last epoch", *_SIGNS], *last]),
        element("div", *charts, class_="row"),
    )


def _mean(curves: list[Curve]) -> Curve:
    return [
        (points[0][0], sum(y for _, y in points) / len(points))
        for points in zip(*curves, strict=True)
    ]
