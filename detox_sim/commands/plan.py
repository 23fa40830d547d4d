"""Recommend redundancy and rules within a risk and a budget of computation.

``detox-sim plan --workers 45 --byzantine 5 --most-copies 3``
"""

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from textwrap import fill, wrap
from typing import Any

from detox_sim import data
from detox_sim.commands import terminal
from detox_sim.costs import MODEL_SIZES
from detox_sim.planning import Option, atlas_text, options, pareto, rank
from detox_sim.planning.schemes import DRAWS, MOST_WORKERS
from detox_sim.theory import PROVEN_SHARE, recommended_copies

RISK = 1e-3
ROWS = 10  # without --all
WIDTH = 120  # characters
BATCH = 180  # images of the Trial: the nearest multiple of its files

MARKS = {
    "*": "safe and worth choosing: no other safe option is as good in seconds, error and r, and "
    "better in one",
    "o": "safe, not worth choosing: another safe option is as good in all three and better in one",
    "blank": "not safe",
}
COLUMNS = {
    "scheme": "the assignment of files to workers, or reactive checks and their chance",
    "r": "copies of each file, or how often reactive checks have it computed: r times the "
    "computation without redundancy",
    "rules": "inner rule in vote groups, then outer rule; or one rule over all votes",
    "used": "workers that compute; the rest stays idle",
    "votes": "gradients after the vote, one a file",
    "worst": "most votes that attackers who know the groups can distort (<= an upper bound)",
    "fails": "chance per step that random attackers distort more votes than the rules withstand (~ "
    f"simulated, {DRAWS:,} draws)",
    "informed": "whether attackers who know the groups can break the rules",
    "images": "images that a worker processes per step",
    "seconds": "of a round, modelled",
    "error": "least squared error any rule can guarantee, 1 = the mean without attackers; training "
    "takes more steps",
}
SAFE = {"safe": "within the risk, under the attackers asked for; ordered by seconds x error"}
ATLAS = (
    "Atlas: real training runs under ten attacks, of which the worst was chosen on two seeds; "
    "[low, high] is the 95 % interval of the mean over five others. "
)
LEFT_OUT = (
    "Left out: schemes of more files than images in the batch, detection (vote='clique'), codes "
    "against stragglers. If the workers are renamed in secret at each step (reshuffle=True), "
    "informed attackers do no better than random ones."
)
FIXED = (
    " Reactive checks assume that the same workers are Byzantine all the time; their error is that "
    "after all of these are excluded."
)
LARGE = f" Above {MOST_WORKERS} workers only repetition groups are compared."
OTHERS = (
    "Two other questions: theory.recommended_copies({byzantine}) = {copies} is enough for "
    "corollary 2 of the paper (proven up to q / p = {share:.3f}; here {here:.3f}); r = 3 is what "
    "the paper's experiments and the studies use."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a recommendation, the schemes compared, and a Trial to run; return the exit code."""
    chosen = parser().parse_args(arguments)
    informed = chosen.attackers == "informed"
    try:
        if not 0 <= chosen.risk <= 1:
            raise ValueError(f"--risk must be a chance between 0 and 1, got {chosen.risk:g}")
        if chosen.most_copies is not None and chosen.most_copies < 1:
            raise ValueError(f"--most-copies must be 1 or more, got {chosen.most_copies}")
        found = options(
            chosen.workers,
            chosen.byzantine,
            parameters=_whole(chosen.parameters),
            sample_seconds=_seconds(chosen.seconds_per_gradient),
            batch=chosen.batch,
            most_copies=chosen.most_copies,
            fixed=chosen.fixed,
        )
    except ValueError as error:
        print(f"detox-sim plan: {error}", file=sys.stderr)
        return 2
    ranked = rank(found, risk=chosen.risk, informed=informed)
    budget = {"risk": chosen.risk, "most_copies": chosen.most_copies, "informed": informed}
    print(fill(recommendation(ranked, **budget), WIDTH) + "\n")
    ran = atlas_text(ranked, workers=chosen.workers, byzantine=chosen.byzantine)
    if ran:
        print(fill(ran, WIDTH) + "\n")
    print("\n".join(table(found, ranked, informed=informed, everything=chosen.all)) + "\n")
    others = OTHERS.format(
        byzantine=chosen.byzantine,
        copies=recommended_copies(chosen.byzantine),
        share=PROVEN_SHARE,
        here=chosen.byzantine / chosen.workers,
    )
    notes = (
        ATLAS * bool(ran)
        + LEFT_OUT
        + FIXED * chosen.fixed
        + LARGE * (chosen.workers > MOST_WORKERS)
    )
    print("\n".join([legend(everything=chosen.all), fill(notes, WIDTH), fill(others, WIDTH)]))
    if ranked:
        print("\n" + trial_line(ranked[0], chosen.batch or BATCH))
    return 0


def _seconds(text: str) -> float:
    """Return seconds that are given as a number or, such as 1/130, a fraction."""
    try:
        seconds = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        seconds = -1.0
    if seconds < 0:
        raise ValueError(
            f"--seconds-per-gradient must be a number of 0 or more, or a fraction, got {text}"
        )
    return seconds


def _whole(value: float) -> int:
    """Return a number of parameters such as 11.2e6 as an integer."""
    if value != value or value in (float("inf"), -float("inf")) or value < 1:
        raise ValueError(f"--parameters must be a number of 1 or more, got {value:g}")
    return round(value)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    made = terminal.Parser(
        prog="detox-sim plan",
        description="Recommend redundancy and rules for P workers of which Q are Byzantine, within "
        "a risk and a budget of computation: those of the least modelled time to a given error. "
        "Say what real training runs (the atlas) show of them.",
        epilog="example: detox-sim plan --workers 45 --byzantine 5 --most-copies 3",
    )
    add = made.add_argument
    add("--workers", type=int, required=True, metavar="P")
    add("--byzantine", type=int, required=True, metavar="Q", help="below P / 2")
    add(
        "--most-copies",
        type=int,
        metavar="N",
        help="budget: at most N times the computation without redundancy; default: no limit",
    )
    add(
        "--risk",
        type=float,
        default=RISK,
        help=f"accepted chance per step that the rules fail; default {RISK:g}",
    )
    add(
        "--attackers",
        choices=("random", "informed"),
        default="random",
        help="placed at random (default), or where they distort most",
    )
    add(
        "--fixed",
        action="store_true",
        help="the same workers are Byzantine all the time: compares checks that exclude them too",
    )
    add(
        "--parameters",
        type=float,
        default=MODEL_SIZES["resnet18"]["parameters"],
        metavar="D",
        help="values of a gradient; default: those of ResNet-18",
    )
    add(
        "--seconds-per-gradient",
        default="1/130",
        metavar="S",
        help="seconds per image on one worker; default 1/130 (assumed)",
    )
    add("--batch", type=int, metavar="B", help="images per step; default 32 P")  # fmt: skip
    add("--all", action="store_true", help="list every option, not only those worth choosing")
    return made


def recommendation(
    ranked: Sequence[Option], *, risk: float, most_copies: int | None, informed: bool
) -> str:
    """Return what to use, and what it costs, in one or two sentences.

    Parameters
    ----------
    ranked : sequence of Option
        What `rank` returns, the best first.
    risk : float
        Accepted chance of failure per step.
    most_copies : int or None
        The budget.
    informed : bool
        Whether the attackers know the groups.

    Examples
    --------
    >>> ranked = rank(options(45, 0))
    >>> print(recommendation(ranked, risk=1e-3, most_copies=None, informed=False))
    Use no redundancy (r = 1) and mean. Of the options whose rules ...
    """
    within = f"fail with a chance of at most {risk:g} per step"
    if informed:
        within = "withstand informed attackers"
    if most_copies is not None:
        within += f", with at most {most_copies} {'copy' if most_copies == 1 else 'copies'} a file"
    if not ranked:
        return (
            f"There is no option whose rules {within}; allow more copies or more risk, or assume "
            "fewer Byzantine workers."
        )
    best = ranked[0]
    certain = best.fails == best.fails_error == 0
    fails = "cannot fail" if certain else f"fail with chance {_chance(best)} per step"
    harm = "can break them" if best.fails_informed else "cannot break them"
    price = f", {best.computed:g} times the computation without redundancy"
    return (
        f"Use {best.words}. Of the options whose rules {within}, it takes the least modelled time "
        "to a given error (seconds x error): "
        f"{_number(best.seconds)} s a round (modelled) and {_number(best.load, 0)} images per "
        f"worker{price if best.computed > 1 else ''}; the rules {fails} under random attackers, "
        f"and informed ones {harm}."
    )


def table(
    found: Sequence[Option], ranked: list[Option], *, informed: bool, everything: bool = False
) -> list[str]:
    """Return the options worth choosing as rows below a head, at most 120 columns wide.

    Parameters
    ----------
    found : sequence of Option
        What `options` returns.
    ranked : list of Option
        What `rank` returns of these, the best first.
    informed : bool
        Whether the attackers know the groups: the error is then that of the worst case.
    everything : bool
        One row for every option found, the safe ones first. Otherwise one for each option of
        `planning.pareto`, in their order, at most ten, and a last sentence that counts the
        options without a row.

    Examples
    --------
    >>> found = options(9, 1)
    >>> table(found, rank(found), informed=False)[1]
    '*  detox ...'
    """
    front = pareto(ranked, informed=informed)
    worth, safe = ({id(option) for option in some} for some in (front, ranked))
    rest = [option for option in found if id(option) not in safe]
    rest.sort(key=lambda option: (option.fails_informed and informed, option.fails, option.seconds))
    rows = [("", *COLUMNS)]
    for option in [*ranked, *rest] if everything else front[:ROWS]:
        mark = "*" if id(option) in worth else "o" if id(option) in safe else ""
        rows.append((mark, *_cells(option, informed=informed)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return lines if everything else lines + _not_listed(len(found), len(ranked), len(front))


def _cells(option: Option, *, informed: bool) -> tuple[str, ...]:
    """Return the text of each of `COLUMNS` for one option."""
    return (
        option.scheme.partition(", r = ")[0].replace("checks with chance ", ""),
        f"{option.computed:g}",
        option.pipeline,
        str(option.fields["workers"]),
        str(option.votes),
        f"{'' if option.proven else '<='}{option.distorted_worst}",
        _chance(option),
        "breaks" if option.fails_informed else "no",
        _number(option.load, 0),
        _number(option.seconds),
        _number(option.error_informed if informed else option.error),
    )


def _not_listed(found: int, safe: int, worth: int) -> list[str]:
    """Return a sentence that counts the options without a row, or nothing where all have one."""
    counts = {
        "worth choosing, of a larger seconds x error": worth - ROWS,
        "safe but not worth choosing": safe - worth,
        "not safe": found - safe,
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count > 0]
    return wrap(f"Not listed: {'; '.join(parts)}. --all lists them.", WIDTH) if parts else []


def legend(*, everything: bool) -> str:
    """Return what the marks and the columns of `table` mean, a line each."""
    marks = MARKS if everything else {"*": MARKS["*"]}
    lines = marks | SAFE | COLUMNS
    return "\n".join(f"{name:8}  {meaning}" for name, meaning in lines.items())


def _number(value: float, digits: int = 2) -> str:
    digits = digits if value < 1000 else 0
    return f"{value:.{digits}f}" if value < 1e5 or value == float("inf") else f"{value:.1e}"


def _chance(option: Option) -> str:
    """Return the chance of failure as text; simulated ones are marked."""
    if option.fails_error == 0:
        return "< 1e-12" if 0 < option.fails < 1e-12 else f"{option.fails:.2g}"
    return f"~{option.fails:.2g}"


def trial_line(option: Option, batch: int = BATCH) -> str:
    """Return Python that makes a Trial of this option, on data that come with the package.

    Parameters
    ----------
    option : Option
    batch : int
        Images a step; the Trial has as many as can be split equally, one a file or more.

    Examples
    --------
    >>> print(trial_line(rank(options(9, 1))[0]))
    Trial(workers=9, byzantine=1, copies=3, assignment='detox', ..., batch=180, attack='alie')
    """
    fields: dict[str, Any] = {k: v for k, v in option.fields.items() if v != {}}
    images = len(data.load("digits").train_labels)
    fields["batch"] = max(1, min(batch, images) // option.files) * option.files
    if fields["byzantine"]:
        fields["attack"] = "alie"
    line = f"Trial({', '.join(f'{name}={value!r}' for name, value in fields.items())})"
    if option.files > images:
        return f"# The digits have {images} images; with larger data=...: {line}"
    return line


if __name__ == "__main__":
    sys.exit(terminal.run(main))
