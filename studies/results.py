"""Results as things: what a folder holds, how two folders differ, joining, plotting, archiving.

``python -m studies.results DIR`` prints what is there and what was found.
"""

import sys

from detox_sim.commands import terminal

if __name__ == "__main__":  # before what takes seconds to import
    terminal.run_module("studies.results")

import argparse
import shutil
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from detox_sim.catalogue import unknown
from studies.evidence.verdicts import open_stored
from studies.workflow import archive, plotting, results

COMMANDS = ("show", "diff", "merge", "plot", "export")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 where ``diff`` finds a difference, 2 when the call is wrong."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] not in (*COMMANDS, "-h", "--help"):
        if get_close_matches(arguments[0], COMMANDS) and not Path(arguments[0]).exists():
            print(f"error: {unknown('command', arguments[0], COMMANDS)}", file=sys.stderr)
            return 2
        arguments.insert(0, "show")
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    made = terminal.Parser(
        prog=terminal.program("results"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    show = add("show", _show, "print what a folder holds and what was found; the default")
    show.add_argument("folder", type=Path, metavar="DIR")
    show.add_argument("--brief", action="store_true", help="the first paragraph of each finding")
    diff = add("diff", _diff, "print how the datasets of two folders differ; exit code 1 if any")
    diff.add_argument("folders", type=Path, nargs=2, metavar="DIR")
    merge = add("merge", _merge, "join the datasets of folders whose cells have other labels")
    merge.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    merge.add_argument("--output", type=Path, required=True, metavar="DIR")
    plot = add("plot", _plot, "draw a variable of a dataset over one of its axes")
    plot.add_argument("folder", type=Path, metavar="DIR")
    plot.add_argument("study")
    plot.add_argument("variable")
    plot.add_argument("--over", required=True, metavar="AXIS", help="the horizontal axis")
    plot.add_argument("--set", action="append", default=[], metavar="axis=label",
                      help="take one label of another axis")  # fmt: skip
    plot.add_argument("--output", type=Path, required=True, metavar="FILE",
                      help="its ending says the format: svg, pdf, png")  # fmt: skip
    export = add("export", _export, "write an archive that opens without this package")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.add_argument("--output", type=Path, required=True, metavar="FILE.zip")
    return made


def _show(options: argparse.Namespace) -> int:
    width = min(shutil.get_terminal_size().columns, 100)
    for name, path in results.datasets(options.folder).items():
        print(results.described(name, path, width, options.brief) + "\n")
    return 0


def _diff(options: argparse.Namespace) -> int:
    one, other = (results.datasets(folder) for folder in options.folders)
    different = False
    for name in dict.fromkeys([*one, *other]):
        if name not in one or name not in other:
            found = [f"only in {options.folders[name not in one]}"]
        else:
            found = results.differences(one[name], other[name])
        different |= bool(found)
        print("\n  ".join([f"{name}: {'differs' if found else 'the same values'}", *found]))
    return int(different)


def _merge(options: argparse.Namespace) -> int:
    found = [results.datasets(folder) for folder in options.folders]
    for path in (path for each in found for path in each.values()):
        open_stored(path)  # refuses what is no dataset before anything is written
    options.output.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(name for each in found for name in each):
        target = options.output / f"{name}.nc"
        if target.exists():
            raise ValueError(f"{target} exists; name another folder with --output")
        results.merge([each[name] for each in found if name in each], target)
        print(target)
    return 0


def _plot(options: argparse.Namespace) -> int:
    found = results.datasets(options.folder)
    plotting.plot(found, options.study, options.variable, options.over, options.set, options.output)
    print(options.output)
    return 0


def _export(options: argparse.Namespace) -> int:
    count = archive.export(options.folder, options.output)
    print(f"{options.output}: {count} files")
    return 0
