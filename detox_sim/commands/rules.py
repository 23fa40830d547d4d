"""Print the table of aggregation rules: condition, cost, breakdown point, source."""

import argparse
import sys
from collections.abc import Sequence

from detox_sim.aggregators.facts import as_markdown
from detox_sim.commands import terminal


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options, of which there are none."""
    return terminal.Parser(prog="detox-sim rules", description=__doc__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table as Markdown; return the exit code."""
    parser().parse_args(arguments)
    print(as_markdown())
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run(main))
