"""Put crops into a gallery, and ask it who is like whom.

    python tools/search.py index CROPS... --run runs/market --gallery people
    python tools/search.py find query.jpg --gallery people [-k 20] [--camera 3] [--picture a.png]
    python tools/search.py who "female, red top, backpack" --gallery people
    python tools/search.py compare a.jpg b.jpg --gallery people [--picture why.png]
    python tools/search.py threshold --gallery people [--false-match-rate 0.001]
    python tools/search.py group --gallery people --to groups.csv

`COMMAND --help` tells what each takes, docs/search.md shows them all.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import startup
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded

_FALSE_MATCHES = 30  # that tell a rate to 30 % in nine cases of ten: Doddington's rule
_NO_CAMERA = (
    "no camera is known, so none can be filtered by: index into a new gallery from folders named "
    "camN, with --camera-folders, or from a CSV with the columns path,camera,time; see "
    "docs/search.md"
)


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says. Raises InputError for what the user can mend."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_index, _add_find, _add_who, _add_compare, _add_threshold, _add_group):
        add(commands)
    given = parser.parse_args(arguments)
    startup.tune()
    given.run_command(given)


def _command(commands: Any, name: str, run_command: Any, text: str) -> argparse.ArgumentParser:
    """A command with the flags that all share."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--gallery", required=True, help="its folder, or its name on a server")
    parser.add_argument("--url", help="of a Qdrant server that holds the gallery")
    parser.add_argument(
        "--root", default=".", help="the folder that names in a gallery are relative to; here: ."
    )
    parser.set_defaults(run_command=run_command)
    return parser


def _open(given: argparse.Namespace, embedder: Any = None, *, create: bool = False) -> Any:
    from fgsam_jax.retrieval.gallery import Gallery

    place = given.gallery if given.url else expanded(given.gallery)
    return Gallery.open(place, embedder, create=create, url=given.url)


def _add_index(commands: Any) -> None:
    text = "Embed crops and add them to a gallery; the same command goes on where it stopped."
    parser = _command(commands, "index", _index, text)
    parser.add_argument("crops", nargs="+", metavar="CROPS", help="folders, images or a .csv")
    parser.add_argument("--run", required=True, help="the folder of a trained model")
    parser.add_argument(
        "--camera-folders", action="store_true", help="the folder that holds a crop is its camera"
    )


def _index(given: argparse.Namespace) -> None:
    import fgsam_jax
    from fgsam_jax.retrieval.crop_lists import list_crops
    from fgsam_jax.retrieval.indexing import index_crops
    from fgsam_jax.retrieval.people import known_of

    crops = list_crops(
        [expanded(path) for path in given.crops],
        expanded(given.root),
        camera_folders=given.camera_folders,
    )
    embedder = fgsam_jax.load(expanded(given.run))
    with _open(given, embedder, create=True) as gallery:
        done = index_crops(crops, embedder, gallery)
        if len(gallery):
            gallery.note(run=given.run)
        for line in done.broken:
            print(f"left out: {line}")
        print(
            f"added {done.added:,} crops, {done.known:,} were there before, {len(done.broken):,} "
            f"left out; the gallery has {len(gallery):,}"
        )
        if len(gallery):
            print(known_of(gallery))
            if not gallery.cameras():
                print(_NO_CAMERA)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", type=int, default=20, help="how many crops")
    parser.add_argument("--camera", nargs="+", help="of these cameras")
    parser.add_argument("--from", dest="since", help="the earliest time, 2026-11-28T10:15:00, UTC")
    parser.add_argument("--to", dest="until", help="the latest time")
    parser.add_argument(
        "--words", nargs="+", default=[], help="with all of these words of your CSV"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", help="draw what is found into this .png")


def _filters(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("camera", "since", "until", "words")}


def _add_find(commands: Any) -> None:
    parser = _command(commands, "find", _find, "Rank the crops of a gallery for an image.")
    parser.add_argument("images", metavar="IMAGE|FOLDER", help="a query, or a folder of them")
    parser.add_argument("--run", help="the model's folder, if it is not where index found it")
    parser.add_argument("--re-rank", action="store_true", help="by k-reciprocal neighbours")
    parser.add_argument("--who", metavar="TEXT", help='of these attributes: "female, backpack"')
    _add_filters(parser)


def _find(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval import answers
    from fgsam_jax.retrieval.crop_lists import list_crops
    from fgsam_jax.retrieval.opened import opened
    from fgsam_jax.visualization import found as show

    source = expanded(given.images)
    queries = [crop.path for crop in list_crops([source], source.parent)]
    with opened(given.gallery, given.run, given.url) as (gallery, embedder):
        where, unknown = _filters(given), list[str]()
        if given.who:
            where["attributes"], unknown = answers.said(given.who, gallery.attributes)
        rows = embedder.embed(queries)
        if given.re_rank:
            lists = answers.search_reranked(gallery, rows, given.k, **where)
        else:
            lists = gallery.search(rows, given.k, **where)
        empty = [answers.nobody(gallery, found) for found in lists]
        missing = [answers.nothing(found, gallery.cameras()) for found in lists]
        limit = gallery.about.get("threshold", {}).get("distance")
    if given.json:
        print(
            json.dumps(
                [
                    {
                        "query": str(query),
                        "nobody": none,
                        "nothing": why,
                        "understood": where.get("attributes", {}),
                        "unknown": unknown,
                        "found": [show.plain(x) for x in found],
                    }
                    for query, none, why, found in zip(queries, empty, missing, lists, strict=True)
                ],
                indent=1,
            )
        )
    else:
        if given.who:
            _tell_words(where["attributes"], unknown)
        for query, none, why, found in zip(queries, empty, missing, lists, strict=True):
            print(f"{query}: nobody within {limit:.3f}" if none else query)
            print(why or show.table(found), end="\n\n")
    if given.picture:
        told = ["nobody" if none else "" for none in empty]
        _save(show.ranked_lists(queries, lists, expanded(given.root), told), given.picture)


def _add_who(commands: Any) -> None:
    parser = _command(commands, "who", _who, "Rank the crops of a gallery by attributes in words.")
    parser.add_argument("text", metavar="TEXT", help='such as "female, red top, backpack"')
    _add_filters(parser)


def _who(given: argparse.Namespace) -> None:
    from fgsam_jax.labels.words import understand
    from fgsam_jax.retrieval.answers import nothing
    from fgsam_jax.visualization import found as show

    with _open(given) as gallery:
        wanted, unknown = understand(given.text, gallery.attributes)
        found = gallery.who(wanted, given.k, **_filters(given))
        why = nothing(found, gallery.cameras())
    if given.json:
        rows = [show.plain(x) for x in found]
        answer = {"understood": wanted, "unknown": unknown, "nothing": why, "found": rows}
        print(json.dumps(answer, indent=1))
    else:
        _tell_words(wanted, unknown)
        print(why or show.table(found, list(wanted)))
    if given.picture:
        _save(show.answers(found, expanded(given.root)), given.picture)


def _tell_words(wanted: dict[str, str], unknown: list[str]) -> None:
    print("understood:", ", ".join(f"{name} {value}" for name, value in wanted.items()))
    if unknown:
        print("not known to this model:", ", ".join(unknown))


def _add_compare(commands: Any) -> None:
    parser = _command(
        commands, "compare", _compare, "Tell whether two crops show one person, and why."
    )
    parser.add_argument("images", nargs=2, metavar="IMAGE", help="the two crops, A and B")
    parser.add_argument("--run", help="the model's folder, if it is not where index found it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", help="draw both crops with their part maps into this .png")


def _compare(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval.comparison import compare
    from fgsam_jax.retrieval.opened import opened
    from fgsam_jax.retrieval.threshold import Threshold
    from fgsam_jax.visualization import match

    files = [expanded(path) for path in given.images]
    with opened(given.gallery, given.run, given.url) as (gallery, embedder):
        kept = gallery.about.get("threshold")
    threshold = None if kept is None else Threshold.from_dict(kept)
    found = compare(embedder.describe(files), embedder.info.attributes, threshold)
    print(json.dumps(found.to_dict(), indent=1) if given.json else match.report(found))
    if given.picture:
        _save(match.picture(found, files, embedder), given.picture)


def _add_threshold(commands: Any) -> None:
    text = "Find the distance at a false-match rate among the gallery's labelled crops; keep it."
    parser = _command(commands, "threshold", _threshold, text)
    parser.add_argument("--false-match-rate", type=float, default=1e-3, help="here: 0.001")


def _threshold(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval.people import keep_threshold

    with _open(given) as gallery:
        found = keep_threshold(gallery, given.false_match_rate)
    low, high = found.interval
    print(
        f"threshold {found.distance:.3f} (95 %: {low:.3f} to {high:.3f}) at a false-match rate of "
        f"{found.false_match_rate:g}, from {found.people} people; kept in the gallery"
    )
    here, held = found.learned, found.held_out
    assert here is not None
    print(
        f"at this threshold, on all pairs: false-match rate {here.false_match_rate:.2g} of "
        f"{here.of_two:,} pairs of two people, true-match rate "
        f"{here.true_match_rate:.3f} of {here.of_one:,} of one"
    )
    print(
        f"learned on half of the people (threshold {here.half_distance:.3f}, the mean of ten "
        f"halves), on the others: false-match rate {held.false_match_rate:.2g}, true-match rate "
        f"{held.true_match_rate:.3f}, calibration error {held.calibration_error:.3f}"
    )
    if round(found.false_match_rate * here.of_two) < _FALSE_MATCHES:
        print(
            f"{found.false_match_rate:g} is about {found.false_match_rate * here.of_two:.0f} of "
            f"{here.of_two:,} pairs: fewer than {_FALSE_MATCHES} tell a rate badly; index more "
            f"people, or ask for {_FALSE_MATCHES / here.of_two:.3g} or more"
        )


def _add_group(commands: Any) -> None:
    text = "Group the crops of a gallery into people, as a .csv that index takes."
    parser = _command(commands, "group", _group, text)
    parser.add_argument("--to", default="groups.csv", help="the .csv; here: groups.csv")
    parser.add_argument(
        "--crops-each", type=int, default=10, help="about how many crops a person has; here: 10"
    )


def _group(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval.people import group_gallery, write_groups

    with _open(given) as gallery:
        rows, groups = group_gallery(gallery, given.crops_each)
    write_groups(expanded(given.to), rows, groups, expanded(given.root))
    alone = int((groups.group < 0).sum())
    print(
        f"wrote {given.to}: {max(0, groups.group.max()):,} groups of {len(rows) - alone:,} crops; "
        f"{alone:,} are alone, with identity -1"
    )


def _save(picture: Any, target: str) -> None:
    path: Path = expanded(target)
    try:
        picture.save(path, "png")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


if __name__ == "__main__":
    with one_line():
        main()
