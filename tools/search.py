"""Put crops into a gallery, and ask it who is like whom.

    python tools/search.py index CROPS... --run runs/market --gallery people
    python tools/search.py find query.jpg --gallery people [-k 20] [--camera 3] [--picture a.png]
    python tools/search.py who "female, red top, backpack" --gallery people
    python tools/search.py compare a.jpg b.jpg --gallery people [--picture why.png]
    python tools/search.py threshold --gallery people [--false-match-rate 0.001] [--to others]
    python tools/search.py group --gallery people --to groups.csv

`COMMAND --help` tells what each takes, docs/search.md shows them all.
"""

import argparse
import contextlib
import json
from typing import Any

from fgsam_jax.errors import InputError, printable
from fgsam_jax.runtime import startup
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded

_NO_CAMERA = (
    "no camera is known, so none can be filtered by: index into a new gallery from folders named "
    "camN, with --camera-folders, or from a CSV with the columns path,camera,time; see "
    "docs/search.md"
)


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says. Raises InputError for what the user can mend."""
    given = _parser().parse_args(arguments)
    startup.tune()
    given.command(given)


def _parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    every, model, shown, filters = (Parser(add_help=False) for _ in range(4))
    every.add_argument("--gallery", required=True, help="its folder, or its name on a server")
    every.add_argument("--url", help="of a Qdrant server that holds the gallery")
    every.add_argument(
        "--root", default=".", help="the folder that names in a gallery are relative to; here: ."
    )
    model.add_argument("--run", help="the model's folder, if it is not where index found it")
    shown.add_argument("--json", action="store_true", help="print JSON")
    shown.add_argument("--picture", help="draw what is found into this .png")
    filters.add_argument("-k", type=int, default=20, help="how many crops")
    filters.add_argument("--camera", nargs="+", help="of these cameras")
    filters.add_argument("--from", dest="since", help="the earliest time, 2026-11-28T10:15:00, UTC")
    filters.add_argument("--to", dest="until", help="the latest time")
    filters.add_argument(
        "--words", nargs="+", default=[], help="with all of these words of your CSV"
    )

    def add(name: str, command: Any, text: str, *parents: Parser) -> Parser:
        made = commands.add_parser(name, help=text, description=text, parents=[every, *parents])
        made.set_defaults(command=command)
        return made

    text = "Embed crops and add them to a gallery; the same command goes on where it stopped."
    index = add("index", _index, text)
    index.add_argument("crops", nargs="+", metavar="CROPS", help="folders, images or a .csv")
    index.add_argument("--run", required=True, help="the folder of a trained model")
    index.add_argument(
        "--camera-folders", action="store_true", help="the folder that holds a crop is its camera"
    )

    text = "Rank the crops of a gallery for an image."
    find = add("find", _find, text, model, filters, shown)
    find.add_argument("images", metavar="IMAGE|FOLDER", help="a query, or a folder of them")
    find.add_argument("--re-rank", action="store_true", help="by k-reciprocal neighbours")
    find.add_argument("--who", metavar="TEXT", help='of these attributes: "female, backpack"')

    who = add("who", _who, "Rank the crops of a gallery by attributes in words.", filters, shown)
    who.add_argument("text", metavar="TEXT", help='such as "female, red top, backpack"')

    text = "Tell whether two crops show one person, and why."
    compare = add("compare", _compare, text, model, shown)
    compare.add_argument("images", nargs=2, metavar="IMAGE", help="the two crops, A and B")

    text = "Find the distance at a false-match rate among the gallery's labelled crops; keep it."
    threshold = add("threshold", _threshold, text)
    threshold.add_argument("--false-match-rate", type=float, default=1e-3, help="here: 0.001")
    threshold.add_argument(
        "--to", metavar="GALLERY", help="keep it in this gallery of the same model instead"
    )

    text = "Group the crops of a gallery into people, as a .csv that index takes."
    group = add("group", _group, text)
    group.add_argument("--to", default="groups.csv", help="the .csv; here: groups.csv")
    group.add_argument(
        "--crops-each", type=int, default=10, help="about how many crops a person has; here: 10"
    )
    return parser


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
    with _open(given.gallery, given.url, embedder) as gallery:
        done = index_crops(crops, embedder, gallery)
        for line in done.broken:
            print(f"left out: {line}")
        print(
            f"added {done.added:,} crops, {done.known:,} were there before, {len(done.broken):,} "
            f"left out; the gallery has {len(gallery):,}"
        )
        if len(gallery):
            gallery.note(run=str(expanded(given.run).absolute()))
            print(known_of(gallery))
            if not gallery.cameras():
                print(_NO_CAMERA)


def _find(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval import answers
    from fgsam_jax.retrieval.crop_lists import list_crops
    from fgsam_jax.retrieval.opened import opened
    from fgsam_jax.visualization import found as show

    source = expanded(given.images)
    queries = [crop.path for crop in list_crops([source], source.parent)]
    where, unknown = _filters(given), list[str]()
    with opened(given.gallery, given.run, given.url) as (gallery, embedder):
        if given.who is not None:
            where["attributes"], unknown = answers.said(given.who, gallery.attributes)
        rows = embedder.embed(queries)
        lists = gallery.search(rows, 1 if given.re_rank else given.k, **where)
        nobody = [answers.nobody(gallery, found) for found in lists]
        if given.re_rank:
            lists = answers.search_reranked(gallery, rows, given.k, **where)
        nothing = [answers.nothing(gallery, found, **where) for found in lists]
        limit = (gallery.about.get("threshold") or {}).get("distance")
    told = list(zip(queries, nobody, nothing, lists, strict=True))
    if given.json:
        words = {"understood": where.get("attributes", {}), "unknown": unknown}
        found = [
            {
                "query": str(query),
                "nobody": none,
                "nothing": why,
                **words,
                "found": show.plain(listed),
            }
            for query, none, why, listed in told
        ]
        print(json.dumps(found, indent=1))
    else:
        if given.who is not None:
            _tell_words(where["attributes"], unknown)
        for query, none, why, listed in told:
            print(printable(query, 300) + (f": nobody within {limit:.3f}" if none else ""))
            print(why or show.table(listed), end="\n\n")
    if given.picture:
        captions = ["nobody" if none else "no crop" if why else "" for _, none, why, _ in told]
        _save(show.ranked_lists(queries, lists, expanded(given.root), captions), given.picture)


def _who(given: argparse.Namespace) -> None:
    from fgsam_jax.labels.words import understand
    from fgsam_jax.retrieval.answers import nothing
    from fgsam_jax.visualization import found as show

    with _open(given.gallery, given.url) as gallery:
        wanted, unknown = understand(given.text, gallery.attributes)
        where = _filters(given)
        found = gallery.who(wanted, given.k, **where)
        why = nothing(gallery, found, **where)
    if given.json:
        answer = {"understood": wanted, "unknown": unknown, "nothing": why}
        print(json.dumps(answer | {"found": show.plain(found)}, indent=1))
    else:
        _tell_words(wanted, unknown)
        print(why or show.table(found, list(wanted)))
    if given.picture and found:
        _save(show.answers(found, expanded(given.root)), given.picture)
    elif given.picture:  # an older picture would be taken for the answer
        expanded(given.picture).unlink(missing_ok=True)


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


def _threshold(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval.people import keep_threshold, threshold_report

    with (
        _open(given.gallery, given.url) as known,
        _open(given.to, given.url) if given.to else contextlib.nullcontext(known) as gallery,
    ):
        found = keep_threshold(known, given.false_match_rate, gallery)
    print(threshold_report(found, given.to or given.gallery))


def _group(given: argparse.Namespace) -> None:
    from fgsam_jax.retrieval.people import group_gallery, write_groups

    with _open(given.gallery, given.url) as gallery:
        rows, groups = group_gallery(gallery, given.crops_each)
    write_groups(expanded(given.to), rows, groups, expanded(given.root))
    alone = int((groups.group < 0).sum())
    print(
        f"wrote {given.to}: {max(0, groups.group.max()):,} groups of {len(rows) - alone:,} crops; "
        f"{alone:,} are alone, with identity -1"
    )


def _open(name: str, url: str | None, embedder: Any = None) -> Any:
    """A gallery; with an embedder it is made where it does not exist."""
    from fgsam_jax.retrieval.gallery import Gallery

    place = name if url else expanded(name)
    return Gallery.open(place, embedder, create=embedder is not None, url=url)


def _filters(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("camera", "since", "until", "words")}


def _tell_words(wanted: dict[str, str], unknown: list[str]) -> None:
    print("understood:", ", ".join(f"{name} {value}" for name, value in wanted.items()))
    if unknown:
        print("not known to this model:", ", ".join(unknown))


def _save(picture: Any, target: str) -> None:
    path = expanded(target)
    try:
        picture.save(path, "png")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


if __name__ == "__main__":
    with one_line():
        main()
