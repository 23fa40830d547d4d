"""The paper's claims beside our datasets: what each says, and whether it holds here.

What the paper says is ``reports/claims.toml``; the rules that decide, fixed beforehand, are the
functions of `studies.evidence`.
"""

import sys

from detox_sim.commands import terminal

if __name__ == "__main__":  # before what takes seconds to import
    terminal.run_module("studies.claims")

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from studies.evidence import verdicts
from studies.evidence.verdicts import COLUMNS, Verdict


def usual_folders() -> list[Path]:
    """Return the folders of results below the current folder, then those of the package."""
    here = sorted(path for path in Path("results").glob("*") if path.is_dir())
    return [*here, *verdicts.committed()]


def as_markdown(found: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    lines = [("id", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    lines += [(each.claim.id, *each.row().values()) for each in found]
    return "\n".join(
        f"| {' | '.join(c.replace('|', '/') or '-' for c in line)} |" for line in lines
    )


def as_text(found: Sequence[Verdict]) -> str:
    """Return the verdicts as paragraphs for a terminal."""
    blocks = []
    for each in found:
        lines = [f"  {k}: {v}" for k, v in each.row().items() if v and k != "verdict"]
        blocks.append("\n".join([f"{each.claim.id}: {each.verdict.upper()}", *lines]))
    return "\n\n".join(blocks)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    made = terminal.Parser(prog=terminal.program("claims"), description=main.__doc__)
    made.add_argument("--results", type=Path, nargs="+", action="extend", metavar="DIR",
                        help="folders with <study>.nc; default: results/* and those that come "
                        "with the repository")  # fmt: skip
    made.add_argument("--markdown", action="store_true", help="print a Markdown table")
    made.add_argument("--verify", type=int, metavar="N",
                        help="recompute N cells of each dataset that comes with the repository (or "
                        "of --results), compare their bits, record it in the dataset")  # fmt: skip
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the verdicts; return 1 when a claim is contradicted, 2 when the call is wrong."""
    options = parser().parse_args(arguments)
    folders = options.results or usual_folders()
    try:
        absent = [str(folder) for folder in folders if not folder.is_dir()]
        if absent:
            raise ValueError(f"--results: {absent[0]} is not a folder")
        if options.results and not any([*folder.glob("*.nc")] for folder in folders):
            raise ValueError(f"--results: no dataset in {', '.join(map(str, folders))}")
        if options.verify is not None:
            return _verify(options.results or verdicts.committed(), options.verify)
        found = verdicts.judged(folders, named=bool(options.results))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_markdown(found) if options.markdown else as_text(found))
    total = ", ".join(f"{count} {name}" for name, count in verdicts.counts(found).items())
    several = sum(verdicts.counts(found).values())
    print(f"\n{len(found)} claims. Those that rest on the same observation count once: {several}, "
          f"{total}.")  # fmt: skip
    return int(any(each.contradicted for each in found))


def _verify(folders: Sequence[Path], count: int) -> int:
    """Recompute cells of each dataset; return 1 where one has other bits."""
    from studies.workflow.verify import verify

    if count < 1:
        raise ValueError(f"--verify must be 1 or more, got {count}")
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(path for folder in folders for path in folder.glob("*.nc")):
            for one in verify(path, count, Path(folder)):
                labels = ", ".join(str(label) for label in one.labels)
                said = "the same bits"
                if not one.equal:
                    said = (
                        f"differs by up to {one.difference:.3g}; means over steps by at most "
                        f"{one.share:.2f} of the range of the seeds"
                    )
                print(f"{path.parent.name}/{path.name}: {labels}: {said}", flush=True)
                equal &= one.equal
    return int(not equal)
