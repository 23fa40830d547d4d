"""Print the table of rules: ``python -m detox_sim.aggregators``."""

import sys

from detox_sim import terminal
from detox_sim.aggregators.facts import as_markdown


def main() -> int:
    """Print the table; return the exit code."""
    print(as_markdown())
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run(main))
