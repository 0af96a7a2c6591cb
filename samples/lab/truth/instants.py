"""Several dumps of one busy guest: ``python3 -m truth.instants SCENARIO -o FOLDER …``.

Run it with ``samples/lab`` as PYTHONPATH. At random instants the guest is stopped, its memory and
registers are written to ``FOLDER-1``, ``FOLDER-2``, …, and it goes on; the last dump is that of
the NMI, as ``samples/lab SCENARIO`` makes it. So only the last one is of a crash; on the others,
too, each task has what it was called with. All of them are made small (see shrink.py).
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from driver.errors import LabError
from driver.guest import Guest, Machine, _command, boot
from driver.image import scenario_image
from driver.kernels import Kernel, debian_kernel
from driver.make import NMI_DELAY_S, check_console
from driver.record import write_record
from driver.scenarios import Scenario

from truth.scenario import TRUTHS
from truth.shrink import shrink

BUSY = {scenario.name: scenario for scenario in TRUTHS if scenario.nmi_after}


def main() -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args()
    scenario = BUSY[options.scenario]
    kernel = debian_kernel(options.kernel)
    with tempfile.TemporaryDirectory(prefix="crashkit-lab-", dir=options.output.parent) as name:
        try:
            made, console = _make(options, scenario, kernel, Path(name))
        except LabError as error:
            print(f"lab: {error}", file=sys.stderr)
            return 1
        for number, dump in enumerate(made, 1):
            folder = options.output.with_name(f"{options.output.name}-{number}")
            _keep(dump, folder, console, kernel, options)
            print(folder)
    return 0


def _make(
    options: argparse.Namespace, scenario: Scenario, kernel: Kernel, folder: Path
) -> tuple[list[Path], str]:
    image = scenario_image(scenario, kernel)
    image.add("/lab/probes", options.probes.read_bytes())
    machine = Machine(
        kernel=kernel,
        initramfs=image.archive(),
        arguments=scenario.arguments,
        memory=options.memory,
        cpus=scenario.cpus,
        deadline=options.deadline,
    )
    chance = random.Random(options.seed)
    made = []
    with boot(machine) as guest:
        guest.wait_for_line(scenario.nmi_after or "")
        for number in range(options.count - 1):
            time.sleep(chance.uniform(*NMI_DELAY_S))
            made.append(folder / str(number))
            guest.dump_memory(made[-1])
            _resume(guest)
        time.sleep(chance.uniform(*NMI_DELAY_S))
        guest.inject_nmi()
        guest.wait_for_panic()
        made.append(folder / "last")
        guest.dump_memory(made[-1])
        check_console(scenario, guest.console())
        return made, guest.console()


def _resume(guest: Guest) -> None:
    with guest._control() as stream:
        _command(stream, "cont")


def _keep(
    dump: Path, folder: Path, console: str, kernel: Kernel, options: argparse.Namespace
) -> None:
    folder.mkdir(parents=True)
    shrink(dump)
    dump.replace(folder / "vmcore")
    (folder / "console.txt").write_text(console)
    facts: dict[str, object] = {
        "scenario": options.scenario,
        "instant": folder.name.rpartition("-")[2],
        "memory_mb": options.memory,
        "seed": options.seed,
    }
    write_record(folder, kernel, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="truth.instants", description=__doc__)
    parser.add_argument("scenario", choices=BUSY)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kernel", default="6.1")
    parser.add_argument("--probes", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6, help="dumps")
    parser.add_argument("--seed", type=int, default=0, help="when they are made")
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--deadline", type=float, default=120.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
