"""Recommend a redundancy scheme and a pipeline of rules.

``python -m studies.plan --workers 45 --byzantine 5``
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby

from detox_sim.costs import MODEL_SIZES
from detox_sim.planning import MOST_WORKERS, Option, options, rank

RISK = 1e-3
LEFT_OUT = (
    "Left out: schemes of more files than images in the batch, detection (vote='clique'), codes "
    "against stragglers. If the workers are renamed in secret at each step (reshuffle=True), "
    "informed attackers do no better than a random placement."
)
LARGE = f" Above {MOST_WORKERS} workers only repetition groups are compared."


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every scheme with its best pipelines and recommend one; return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        if not 0 <= chosen.risk <= 1:
            raise ValueError(f"--risk must be a chance between 0 and 1, got {chosen.risk:g}")
        if chosen.top < 1:
            raise ValueError(f"--top must be 1 or more, got {chosen.top}")
        found = options(
            chosen.workers,
            chosen.byzantine,
            parameters=_whole(chosen.parameters),
            sample_seconds=chosen.seconds_per_gradient,
            batch=chosen.batch,
        )
    except ValueError as error:
        print(f"studies.plan: {error}", file=sys.stderr)
        return 2
    _print_table(found, chosen.top)
    print(LEFT_OUT + (LARGE if chosen.workers > MOST_WORKERS else ""))
    print(recommendation(found, risk=chosen.risk, informed=chosen.attackers == "informed"))
    return 0


def _whole(value: float) -> int:
    """Return a number of parameters such as 11.2e6 as an integer."""
    if value != value or value in (float("inf"), -float("inf")) or value < 1:
        raise ValueError(f"--parameters must be a number of 1 or more, got {value:g}")
    return round(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies.plan",
        description="Compare redundancy schemes for P workers of which Q are Byzantine.",
    )
    parser.add_argument("--workers", type=int, required=True, metavar="P")
    parser.add_argument("--byzantine", type=int, required=True, metavar="Q")
    parser.add_argument(
        "--parameters",
        type=float,
        default=MODEL_SIZES["resnet18"]["parameters"],
        metavar="D",
        help="values of a gradient; default: those of ResNet-18",
    )
    parser.add_argument(
        "--seconds-per-gradient",
        type=float,
        default=1 / 130,
        metavar="S",
        help="of one image on one worker; default 1/130 (assumed)",
    )
    parser.add_argument("--batch", type=int, metavar="B", help="images a round; default 32 P")
    parser.add_argument(
        "--attackers",
        choices=("random", "informed"),
        default="random",
        help="placed at random (default), or where they distort most",
    )
    parser.add_argument(
        "--risk",
        type=float,
        default=RISK,
        help=f"accepted chance of failure a round; default {RISK:g}",
    )
    parser.add_argument(
        "--top", type=int, default=3, help="pipelines shown of each scheme; default 3"
    )
    return parser


def _print_table(found: Sequence[Option], top: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "scheme", "workers", "votes", "worst", "pipeline", "fails (random)", "fails (informed)",
        "images a worker", "seconds a round", "least error", "informed",
        title="chances and worst cases are exact unless marked ~ or <=; seconds are modelled",
    )  # fmt: skip
    for _, group in groupby(found, key=lambda option: option.scheme):
        best = sorted(group, key=lambda option: (option.fails > RISK, option.seconds))
        for option in best[:top]:
            table.add_row(
                option.scheme,
                str(option.fields["workers"]),
                str(option.votes),
                f"{'' if option.proven else '<= '}{option.distorted_worst}",
                option.pipeline,
                _chance(option),
                "yes" if option.fails_informed else "no",
                f"{option.load:.0f}",
                f"{option.seconds:.2f}",
                f"{option.error:.2f}",
                f"{option.error_informed:.2f}",
            )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _chance(option: Option) -> str:
    """Return the chance of failure as text, with its standard error where it is simulated."""
    if option.fails_error == 0:
        return "< 1e-12" if 0 < option.fails < 1e-12 else f"{option.fails:.2g}"
    return f"~{option.fails:.2g} ± {option.fails_error:.1g}"


def recommendation(found: Sequence[Option], *, risk: float, informed: bool) -> str:
    """Return the recommended scheme, the reasons in two sentences, and the fields of its Trial.

    Examples
    --------
    >>> print(recommendation(options(45, 0), risk=1e-3, informed=False))
    Use none, r = 1, with mean. Its condition ...
    """
    ranked = rank(list(found), risk=risk, informed=informed)
    if not ranked:
        who = "informed attackers" if informed else f"random attackers at a risk of {risk:g}"
        return f"No scheme here withstands {who}; use fewer Byzantine workers or more copies."
    best = ranked[0]
    error = best.error_informed if informed else best.error
    second = next((option for option in ranked[1:] if option.scheme != best.scheme), None)
    never = best.fails == best.fails_error == 0
    fails = "cannot fail" if never else f"fails with chance {_chance(best)} a round"
    harm = "would break it" if best.fails_informed else "cannot break it either"
    why = (
        f"Its condition {fails} under random attackers, and informed ones, who distort at most "
        f"{best.distorted_worst} of {best.votes} votes, {harm}. A round takes {best.seconds:.2f} s "
        f"(modelled) with {best.load:.0f} images a worker, and no rule on its votes can guarantee "
        f"a squared error below {error:.2f} times that of the plain batch: the least product of "
        "the two"
    )
    if second is not None:
        other = second.error_informed if informed else second.error
        behind = f"{second.scheme} with {second.pipeline} ({second.seconds:.2f} s, {other:.2f})"
        why += f", before {behind}"
    fields = ", ".join(f"{name}={value!r}" for name, value in best.fields.items() if value != {})
    batch = f"batch=...)  # a multiple of {best.files}, one file each"
    return f"Use {best.scheme}, with {best.pipeline}. {why}.\nTrial({fields}, {batch}"


if __name__ == "__main__":
    sys.exit(main())
