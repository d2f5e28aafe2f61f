"""Ranked lists and part maps of a report."""

from fgsam_jax.experiments.report.files import RunFiles
from fgsam_jax.visualization.page import Element, element, picture, section

_GROUPS = {
    "best": "Best queries",
    "median": "Median queries",
    "worst": "Worst queries",
}


def ranked(run: RunFiles) -> Element | None:
    """The ranked lists of the best, the median and the worst queries."""
    lists = run.pictures.get("lists", [])
    if not lists:
        return None
    body = [
        element(
            "p",
            "By average precision, of different people. Green is the query's person, orange is "
            "another; what the rule for cameras leaves out is not shown. Below each image are its "
            "distance, identity and camera.",
        )
    ]
    for group, heading in _GROUPS.items():
        body.append(element("h3", heading))
        body += [_list(one) for one in lists if one["group"] == group]
    return section("Ranked lists", *body)


def _list(one: dict) -> Element:
    query = one["query"]
    told = (
        f"AP {100 * one['average_precision']:.1f} %, first hit at rank {one['rank']}, "
        f"{one['positives']} to find: {query['name']}"
    )
    crops = [picture(query["jpeg"], "query " + query["name"], ["query", _who(query)], "query")]
    for rank, image in enumerate(one["found"], 1):
        kind, word = ("right", "same person") if image["correct"] else ("wrong", "another person")
        caption = [f"{image['distance']:.2f}", _who(image)]
        crops.append(picture(image["jpeg"], f"rank {rank}, {word}", caption, kind))
    return element(
        "div", element("p", told, class_="faint"), element("div", *crops, class_="crops")
    )


def parts(run: RunFiles) -> Element | None:
    """Where each part's pose channels respond, on query crops."""
    found = run.pictures.get("parts", [])
    if not found:
        return None
    note = (
        "The responses of each part's pose channels over query images, as in Fig. 6 of the paper: "
        "the brighter, the stronger, each map stretched by itself."
    )
    return section("What each part looks at", element("p", note), *(_parts(x) for x in found))


def _parts(one: dict) -> Element:
    tiles = [picture(one["jpeg"], "query " + one["name"], [_who(one)])]
    for part, jpeg in one["maps"].items():
        name = part.replace("_", " ")
        tiles.append(picture(jpeg, f"{name} on {one['name']}", [name]))
    return element("div", *tiles, class_="crops")


def _who(image: dict) -> str:
    camera = f" c{image['camera']}" if image["camera"] else ""
    return f"id {image['identity']}{camera}"
