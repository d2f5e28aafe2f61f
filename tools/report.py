"""Write the report of a run anew, or compare several: python tools/report.py RUN [RUN...]

One run gets report.html in its own folder, several share comparison.html in the present one. The
folder of a run with config.repeats stands for all its seeds. Neither a data set nor a device is
needed; the file has no script and fetches nothing.
"""

from pathlib import Path

from fgsam_jax.experiments.report.build import REPORT, build_report
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded


def main() -> None:
    parser = Parser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--to", help="the file to write")
    arguments = parser.parse_args()
    folders = [expanded(run) for run in arguments.runs]
    to = folders[0] / REPORT if len(folders) == 1 else Path("comparison.html")
    to = expanded(arguments.to) if arguments.to else to
    to.write_text(build_report(folders), encoding="ascii")
    print(f"wrote {to}")


if __name__ == "__main__":
    with one_line():
        main()
