"""A table or figure of the paper by one command, over several seeds.

    python tools/experiment.py ablation
    python tools/experiment.py ablation --base configs/market_cpu.py [--config.data.source=...]

    python tools/experiment.py comparison runs/market

NAME is one of ablation (Table IV), parse_blocks (Table V), sensitivity (Fig. 5), parts, attributes,
mining, pooling, backbones and recipe; comparison sets finished runs beside Tables II and III. Each
run is a process that resumes by itself; the same command goes on after an interruption, and does
not repeat what is finished. Experiments in one --workdir share the data and the phases that they
have in common. Tables, plots and runs go to WORKDIR/NAME.

For several machines: --list prints one command for each run, --collect makes the tables of what is
there. Runs that start at the same time train common phases each for itself: let the first run of
each seed end before the others begin.
"""

import shlex
import sys
from pathlib import Path

from fgsam_jax.config import check
from fgsam_jax.errors import InputError
from fgsam_jax.experiments.studies.catalogue import STUDIES
from fgsam_jax.runtime import cli, startup
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded

_DEMO = Path(__file__).parents[1] / "configs" / "demo.py"


def main() -> None:
    """What the flags ask for. Raises InputError for what the user can mend."""
    parser = Parser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("name", metavar="NAME", choices=(*STUDIES, "comparison"))
    parser.add_argument("finished", nargs="*", metavar="RUN", help="folders, for comparison")
    parser.add_argument("--base", help="configuration that it changes; configs/demo.py")
    parser.add_argument(
        "--size", choices=("demo", "full"), help="few values or many; demo without --base"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each kind")
    parser.add_argument("--workdir", help="runs/experiments/<name of the base>")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="print a command for each run")
    how.add_argument("--collect", action="store_true", help="make the tables of what is there")
    how.add_argument("--run", help="do this run alone")
    given, overrides = parser.parse_known_args()
    chosen = given.base or str(_DEMO)
    root = expanded(given.workdir or Path("runs/experiments") / Path(chosen).stem)
    if given.name == "comparison":
        from fgsam_jax.experiments.studies.comparison import compared

        return print(compared([expanded(run) for run in given.finished], root))
    if given.seeds < 1:
        raise InputError(f"--seeds is 1 or more, got {given.seeds}")
    if given.finished:
        raise InputError(f"only comparison takes folders of runs, got {given.finished[0]}")
    cli.parse([sys.argv[0], "--config", chosen, *overrides])
    base = cli.CONFIG.value
    check(base)
    startup.tune()
    # JAX is imported late: a mistaken flag is answered at once.
    from fgsam_jax.experiments.studies import collect, runs

    small = (given.size or ("full" if given.base else "demo")) == "demo"
    plan = runs.planned(given.name, base, root, seeds=given.seeds, small=small)
    asked = [x for x in sys.argv[1:] if x not in ("--list", "--collect")]
    if given.run:
        runs.carry_out(plan, given.run)
    elif given.list:
        for run in plan.runs.values():
            print(shlex.join(["python", sys.argv[0], *asked, "--run", run.name]))
    else:
        if not given.collect:
            runs.carry_out_all(plan, [sys.executable, sys.argv[0], *asked])
        print(f"\n{collect.write_tables(plan, base, shlex.join(['python', sys.argv[0], *asked]))}")
        print(f"\nwrote {plan.folder}/table.txt, table.json, table.html and plots")


if __name__ == "__main__":
    with one_line():
        main()
