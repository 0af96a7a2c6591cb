"""Crash a kernel in QEMU and keep its vmcore: ``python3 samples/lab SCENARIO -o FOLDER``.

Of several scenarios, with commas, those that boot alike share a boot; each has its own dump, in
FOLDER/SCENARIO-KERNEL.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from driver.dumps import METHODS, Method
from driver.errors import LabError
from driver.kernels import Kernel, debian_kernel, debuginfo
from driver.kinds import KIND_SCENARIOS
from driver.make import Request, make
from driver.recipes_net import RECIPES_NET
from driver.recipes_nf import RECIPES_NF
from driver.scenarios import SCENARIOS
from driver.together import make_together
from growth.scenario import CONNCOUNTS
from kernel.build import SMALL, small_kernel
from race.scenario import CLASH
from table.scenario import TABLES
from truth.scenario import TRUTHS

ROWS = (
    *SCENARIOS,
    *CONNCOUNTS,
    CLASH,
    *TABLES,
    *TRUTHS,
    *RECIPES_NET,
    *RECIPES_NF,
    *KIND_SCENARIOS,
)
ALL = {scenario.name: scenario for scenario in ROWS}
DEBUGINFO = "debuginfo"
DUMPS = {method.name: method for method in METHODS}


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args()
    try:
        if arguments.list:
            _print_lists()
        elif arguments.scenario == [DEBUGINFO]:
            print(debuginfo(arguments.kernel))
        else:
            for folder in _make(arguments):
                print(folder)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samples/lab", description=__doc__)
    parser.add_argument(
        "scenario", nargs="?", type=_scenarios, metavar="SCENARIO[,SCENARIO…]", help="see --list"
    )
    parser.add_argument("--list", action="store_true", help="list scenarios and dump methods")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder for vmcore, console.txt, made.json"
    )
    parser.add_argument(
        "--kernel",
        default="6.1",
        metavar="SERIES[@SUITE][/FLAVOUR]",
        help=f"newest Debian kernel of a series, as 6.1, 7 or 6.12@trixie/amd64; or {SMALL}",
    )
    parser.add_argument("--paging", type=int, choices=(4, 5), default=4, help="levels of paging")
    parser.add_argument("--memory", type=int, help="guest memory in MiB")
    parser.add_argument("--deadline", type=float, default=180.0, help="seconds for the guest")
    parser.add_argument(
        "--dump", type=_methods, default="qemu-elf", metavar="METHOD[,METHOD…]", help="see --list"
    )
    parser.add_argument("--probes", type=Path, help="truth-…: tests/truth/functions.py's list")
    parser.add_argument("--seed", type=int, default=0, help="truth-nmi: when the NMI comes")
    return parser


def _scenarios(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ALL and names != [DEBUGINFO]]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is no scenario: see --list")
    return names


def _methods(text: str) -> tuple[Method, ...]:
    unknown = [name for name in text.split(",") if name not in DUMPS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(DUMPS)}")
    return tuple(DUMPS[name] for name in text.split(","))


def _make(arguments: argparse.Namespace) -> Iterable[Path]:
    if arguments.scenario is None:
        raise LabError("name a scenario; --list shows them")
    kernel = _kernel(arguments.kernel)
    folders = [Path(f"{name}-{arguments.kernel.replace('/', '-')}") for name in arguments.scenario]
    if len(folders) == 1:
        output = arguments.output or folders[0]
        return make(_request(arguments, arguments.scenario[0], kernel, output))
    return make_together(
        [
            _request(arguments, name, kernel, (arguments.output or Path()) / folder)
            for name, folder in zip(arguments.scenario, folders, strict=True)
        ]
    )


def _request(arguments: argparse.Namespace, name: str, kernel: Kernel, output: Path) -> Request:
    return Request(
        scenario=ALL[name],
        kernel=kernel,
        methods=arguments.dump,
        output=output,
        paging=arguments.paging,
        memory=arguments.memory,
        deadline=arguments.deadline,
        files={"/lab/probes": arguments.probes.read_bytes()} if arguments.probes else {},
        seed=arguments.seed,
    )


def _kernel(name: str) -> Kernel:
    return small_kernel() if name == SMALL else debian_kernel(name)


def _print_lists() -> None:
    for title, table in (("Scenarios", ALL), ("Dump methods", DUMPS)):
        print(f"{title}:")
        for row in table.values():
            print(f"  {row.name:<25} {row.summary}")


if __name__ == "__main__":
    sys.exit(main())
