"""Run a command of the package: ``detox-sim COMMAND`` or ``python -m detox_sim COMMAND``.

Exit codes: 2 bad usage; otherwise those of the command.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from detox_sim import __version__
from detox_sim.catalogue import check_known
from detox_sim.commands import terminal

# Name: module, what it does.
COMMANDS = {
    "plan": ("detox_sim.commands.plan", "recommend redundancy and rules within a budget"),
    "rules": ("detox_sim.commands.rules", "print the table of aggregation rules"),
    "doctor": ("detox_sim.commands.doctor", "examine this machine, and a scheduler"),
    "reproduce": ("studies.reproduce", "run studies and make the report (in a clone)"),
    "claims": (
        "studies.claims",
        "print which claims of the paper the results reproduce (in a clone)",
    ),
    "results": ("studies.results", "show, compare, join, plot and export results (in a clone)"),
}
DESCRIPTION = "Choose redundancy and robust rules for distributed training; reproduce DETOX."
EXAMPLE = 'example: eval "$(detox-sim completion bash)", in ~/.bashrc'
SHELLS = ("bash", "zsh", "tcsh")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and not arguments[0].startswith("-"):
        try:
            check_known("command", arguments[:1], [*COMMANDS, "completion"])
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    if not arguments or arguments[0] not in COMMANDS:
        options = _parser().parse_args(arguments or ["--help"])
        print(_completion(options.shell), end="")
        return 0
    command = _module(arguments[0])
    if command is None:
        print(
            f"error: {arguments[0]} runs from a clone of the repository, which has the studies; "
            "there: make .venv/installed",
            file=sys.stderr,
        )
        return 2
    return command.main(arguments[1:])


def run() -> NoReturn:
    """Run the console command, and end this process with its exit code.

    Modules in the current folder can be named, as with ``python -m``.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    terminal.end(terminal.run(main))


def _module(name: str) -> ModuleType | None:
    """Return the module of a command, None for one of the studies where they are not installed."""
    path = COMMANDS[name][0]
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if path.startswith("studies") and error.name in (path, "studies"):
            return None
        raise


def _parser(**parsers: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return the parser of the first argument; with the options of those commands as well."""
    parser: argparse.ArgumentParser = terminal.Parser(prog="detox-sim", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"detox_sim {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        parents = [parsers[name]] if name in parsers else []
        commands.add_parser(name, help=text, parents=parents, add_help=False)
    text = "print what lets a shell complete these commands and their options"
    completion = commands.add_parser("completion", help=text, description=text, epilog=EXAMPLE)
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _completion(shell: str) -> str:
    """Return the script that lets a shell complete the commands that are installed."""
    import shtab

    modules = {name: module for name in COMMANDS if (module := _module(name))}
    parser = _parser(**{name: module.parser() for name, module in modules.items()})
    return shtab.complete(parser, shell)


if __name__ == "__main__":
    run()
