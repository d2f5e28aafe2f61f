"""Put crops into a gallery, and ask it who is like whom.

    python tools/search.py index CROPS... --run runs/market --gallery people
    python tools/search.py find query.jpg --gallery people [-k 20] [--camera 3] [--picture f.png]
    python tools/search.py who "female, red top, backpack" --gallery people

`COMMAND --help` tells what each takes. docs/search.md shows them all.
"""

import argparse

from fgsam_jax.runtime import startup
from fgsam_jax.runtime.entry import Parser, one_line


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says. Raises InputError for what the user can mend."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_index, _add_find, _add_who):
        add(commands)
    given = parser.parse_args(arguments)
    startup.tune()
    given.run_command(given)


def _add_index(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("index", help="embed crops and add them to a gallery")
    parser.add_argument("crops", nargs="+", metavar="CROPS", help="folders, images or a .csv")
    parser.add_argument("--run", required=True, help="the folder of a trained model")
    parser.add_argument("--gallery", required=True, help="its folder")
    parser.set_defaults(run_command=_index)


def _index(given: argparse.Namespace) -> None:
    raise NotImplementedError


def _add_find(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("find", help="rank a gallery by likeness to an image")
    parser.add_argument("images", metavar="IMAGE", help="an image, or a folder of them")
    parser.add_argument("--gallery", required=True, help="its folder")
    parser.set_defaults(run_command=_find)


def _find(given: argparse.Namespace) -> None:
    raise NotImplementedError


def _add_who(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("who", help="rank a gallery by attributes in words")
    parser.add_argument("text", metavar="TEXT", help='such as "female, red top, backpack"')
    parser.add_argument("--gallery", required=True, help="its folder")
    parser.set_defaults(run_command=_who)


def _who(given: argparse.Namespace) -> None:
    raise NotImplementedError


if __name__ == "__main__":
    with one_line():
        main()
