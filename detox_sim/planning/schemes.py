"""Every redundancy scheme of the catalogue with every pipeline, as options with their numbers."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from detox_sim import assignments, costs, theory
from detox_sim.catalogue import bind, check_integer, check_number
from detox_sim.voting import distorted_groups_assumed

LARGEST = 10_000  # workers; half a minute
MOST_WORKERS = 1000  # above, only schemes with a closed form are compared
LEAST_USED = 0.8  # share of the workers that a scheme must use
CHANCES = (1.0, 0.5, 0.1)  # of a check, of reactive votes
DRAWS = 20_000  # of a law of distorted files with too many placements to enumerate
ALONE = ("mean", "median", "trimmed_mean", "geometric_median", "multi_krum", "bulyan")


class Option(NamedTuple):
    """One redundancy scheme with one pipeline: chances of failure, and time.

    Attributes
    ----------
    fields : dict
        Of a `Trial`: workers (those used; the rest stays idle), byzantine, copies, assignment and
        vote with their options, placement for a reactive vote, groups, inner and outer, and
        `byzantine` of the rules where the worst case is more than they withstand.
    files, votes : int
    fails, fails_error : float
        Chance per step that more votes are distorted than the pipeline withstands, under a random
        placement, and its standard error (0 where the chance is exact).
    distorted_worst : int
        Most votes that attackers who know the groups can distort; an upper bound unless `proven`.
    proven : bool
    fails_informed : bool
        Whether these attackers can break the pipeline's condition.
    load : float
        Images that a worker processes per step; the expected ones of a reactive vote
        when nobody forges.
    seconds : float
        Modelled seconds of a round (`costs.round_seconds`).
    error, error_informed : float
        `theory.least_error` of these votes: expected under a random placement given that less than
        half of the votes are distorted, or at the worst case. Of a reactive vote that of steps
        after the last exclusion, and of a step at which all Byzantine workers forge unchecked.
    """

    fields: dict
    files: int
    votes: int
    fails: float
    fails_error: float
    distorted_worst: int
    proven: bool
    fails_informed: bool
    load: float
    seconds: float
    error: float
    error_informed: float

    @property
    def scheme(self) -> str:
        """Return the assignment and the number of copies, or the vote's checks, for tables."""
        if self.fields["vote"] == "reactive":
            return f"reactive, checks with chance {self.fields['vote_options']['chance']:g}"
        return f"{self.fields['assignment']}, r = {self.fields['copies']}"

    @property
    def computed(self) -> float:
        """Return r, or the gradients that a reactive vote is expected to ask of a file."""
        return _computed(self.fields)

    @property
    def pipeline(self) -> str:
        """Return the rules and the number of vote groups, for tables."""
        groups, inner, outer = (self.fields[name] for name in ("groups", "inner", "outer"))
        return outer if groups is None else f"{inner} in {groups} groups, {outer}"

    @property
    def words(self) -> str:
        """Return the scheme and the rules, for sentences."""
        alone = self.fields["assignment"] == "none"
        scheme = "no redundancy (r = 1)" if alone else self.scheme
        return f"{scheme} and {self.pipeline.replace(', ', ', then ')}"


def options(
    workers: int,
    byzantine: int,
    *,
    parameters: int = costs.MODEL_SIZES["resnet18"]["parameters"],
    sample_seconds: float = 1 / 130,
    batch: int | None = None,
    most_copies: int | None = None,
    fixed: bool = False,
) -> list[Option]:
    """Return every redundancy scheme of the catalogue with every pipeline that can run.

    Parameters
    ----------
    workers, byzantine : int
        p, at most 10,000, and q < p / 2.
    parameters : int
        d, the values of a message; the default is that of ResNet-18.
    sample_seconds : float
        Seconds that a worker takes for the gradient of one image (assumed: 130 images a second).
    batch : int, optional
        Images per step; by default 32 per worker, as in the paper. A scheme of more files is left
        out.
    most_copies : int, optional
        Budget of computation: only schemes of at most so many copies, which compute so many times
        the gradients of a round without redundancy. By default all.
    fixed : bool
        The same workers are Byzantine in the whole run. Then reactive votes, which exclude workers
        that they expose, are compared too, with checks at the chances `CHANCES`.

    Returns
    -------
    list of Option

    Raises
    ------
    ValueError
        For impossible numbers.

    Examples
    --------
    >>> found = options(45, 5)
    >>> sorted({option.fields["assignment"] for option in found})
    ['bibd', 'cyclic', 'detox', 'mols', 'none', 'random_regular']
    >>> {option.fields["copies"] for option in options(45, 5, most_copies=3)}
    {1, 3}
    >>> [o.computed for o in options(45, 5, fixed=True) if o.scheme.endswith("chance 0.1")][0]
    1.5
    """
    check_integer("workers", workers, 1)
    check_integer("byzantine", byzantine, 0)
    if workers > LARGEST:
        raise ValueError(
            f"the planner compares at most {LARGEST} workers, got {workers}; "
            "theory.distorted_files answers for more"
        )
    if most_copies is not None:
        check_integer("most_copies", most_copies, 1)
    check_integer("parameters", parameters, 1)
    check_number("sample_seconds", sample_seconds)
    if not byzantine < workers / 2:
        raise ValueError(
            f"byzantine must be below workers / 2 = {workers / 2:g}, got {byzantine}; "
            f"use at most {(workers - 1) // 2}"
        )
    if not 0 <= sample_seconds < np.inf:
        raise ValueError(f"sample_seconds must be a number of 0 or more, got {sample_seconds!r}")
    batch = 32 * workers if batch is None else batch
    check_integer("batch", batch, workers)
    cluster = costs.Cluster()
    work: dict[str, Any] = {
        "parameters": int(parameters),
        "batch": batch,
        "sample_flops": sample_seconds * cluster.worker_flops,
        "cluster": cluster,
    }
    found: list[Option] = []
    for sizes in _schemes(workers, byzantine, fixed):
        for scheme in sizes:
            if most_copies is not None and _computed(scheme) > most_copies:
                break
            try:
                function = bind(assignments, scheme["assignment"], scheme["assignment_options"])
                holders = function(scheme["workers"], scheme["copies"])
            except ValueError:
                continue  # no such construction at this size
            if len(holders) <= batch:
                found += _of_scheme(scheme, holders, byzantine, work)
            break
    return found


def _computed(fields: dict) -> float:
    """Return the gradients computed for a file, expected where a vote is reactive."""
    if fields["vote"] != "reactive":
        return fields["copies"]
    return theory.expected_gradients(fields["byzantine"], fields["vote_options"]["chance"])


def _schemes(workers: int, byzantine: int, fixed: bool) -> Iterator[Iterable[dict]]:
    """Yield for each scheme its fields at several sizes; the first size that exists is used."""

    def scheme(name: str, copies: int, used: int, vote: str = "majority", **extra) -> dict:
        names: dict[str, Any] = {"workers": used, "byzantine": byzantine, "copies": copies}
        names |= {"assignment": name, "vote": vote}
        return names | {"assignment_options": extra}

    yield [scheme("none", 1, workers)]
    if byzantine == 0:
        return
    if fixed:
        for chance in CHANCES:
            reactive = scheme("cyclic", 2 * byzantine + 1, workers, "reactive")
            yield [reactive | {"vote_options": {"chance": chance}, "placement": "fixed"}]
    least = LEAST_USED * workers
    enough = 2 * byzantine + 1  # copies with which no file can be distorted
    few = range(3, min(enough, 15) + 1, 2)
    copies = sorted({*few, theory.recommended_copies(byzantine), enough})
    for r in copies:
        if workers - workers % r >= max(least, r):
            yield [scheme("detox", r, workers - workers % r)]
    if workers > MOST_WORKERS:
        return
    for r in (r for r in copies if r <= 9):
        loads = range(workers // r, max(r, int(least) // r), -1)
        yield (scheme("mols", r, r * load) for load in loads)
        yield (scheme("bibd", r, used) for used in range(workers, int(least), -1))
        if r * r <= workers and r * r >= least:
            yield [scheme("ramanujan", r, r * r)]
        yield [scheme("random_regular", r, workers, load=r)]
    yield [scheme("subsets", 3, workers)]
    yield [scheme("cyclic", enough, workers, "cyclic")]


def _of_scheme(scheme: dict, holders: np.ndarray, byzantine: int, work: dict) -> Iterator[Option]:
    """Yield the options of one scheme: one for each pipeline."""
    files = len(holders)
    after = None  # the law of distorted votes that the error is of, where it is another
    if scheme["vote"] == "cyclic":
        chances, simulated, votes = np.array([1.0]), False, 1
        worst, proven = 0, True
    elif scheme["vote"] == "reactive":
        checked = scheme["vote_options"]["chance"] == 1
        worst = 0 if checked else theory.unchecked_files(holders, byzantine)
        chances, after = np.eye(worst + 1)[-1], np.array([1.0])
        simulated, votes, proven = False, files, True
    else:
        law = theory.distorted_files_law(holders, byzantine, draws=DRAWS)
        chances, simulated, votes = law.chances, law.method == "simulation", files
        case = theory.worst_case_distorted_files(holders, byzantine, seconds=0)
        worst, proven = case.bound, case.proven
    for groups, inner, outer in _pipelines(votes, worst):
        stages: dict[str, Any] = {"groups": groups, "inner": inner, "outer": outer}
        breakable = theory.worst_condition(votes, worst, **stages)
        fails = theory.condition_violated(votes, chances, **stages) if breakable else 0.0
        seconds = costs.round_seconds(
            workers=scheme["workers"], files=files, copies=_computed(scheme),
            vote=scheme["vote"], **stages, **work,
        )  # fmt: skip
        yield Option(
            fields=scheme | stages | _rule_options(stages, votes, worst),
            files=files,
            votes=votes,
            fails=fails,
            fails_error=_error(fails) if simulated and breakable else 0.0,
            distorted_worst=worst,
            proven=proven,
            fails_informed=breakable,
            load=_computed(scheme) * work["batch"] / scheme["workers"],
            seconds=sum(seconds.values()),
            error=_expected_error(votes, chances if after is None else after),
            error_informed=float(theory.least_error(votes, worst)),
        )


def _error(chance: float) -> float:
    """Return the standard error of a simulated chance, above 0 also where no draw failed."""
    return float(np.sqrt((chance * (1 - chance) + 1 / DRAWS) / DRAWS))


def _expected_error(votes: int, chances: np.ndarray) -> float:
    """Return the expected least error given that less than half of the votes are distorted."""
    error = theory.least_error(votes, np.arange(chances.size))
    finite = np.isfinite(error) & (chances > 0)
    if not finite.any():
        return float("inf")
    weights = chances[finite]
    return float((weights * error[finite]).sum() / weights.sum())


def _rule_options(stages: dict[str, Any], votes: int, worst: int) -> dict[str, Any]:
    """Return `byzantine` of the rules that withstand less than the worst case, as options."""
    groups, inner, outer = stages["groups"], stages["inner"], stages["outer"]
    options = {}
    if groups is not None:
        withstood = theory.withstands(inner, votes // groups)
        if inner != "mean" and withstood < worst:
            options["inner_options"] = {"byzantine": withstood}
        worst = distorted_groups_assumed(worst, min(withstood, worst))
    withstood = theory.withstands(outer, votes if groups is None else groups)
    if outer != "mean" and withstood < worst:
        options["outer_options"] = {"byzantine": withstood}
    return options


def _pipelines(votes: int, worst: int) -> Iterator[tuple[int | None, str | None, str]]:
    """Yield (groups, inner, outer): single rules on all votes, and the published pipelines."""
    for outer in ALONE if votes > 1 else ("mean",):
        if theory.withstands(outer, votes) >= 0:
            yield None, None, outer
    divisors = [k for k in range(3, votes // 2 + 1) if votes % k == 0]
    for k in sorted({min(divisors, key=lambda k: abs(k - near), default=0)
                     for near in (5, 2 * worst + 1, int(votes**0.5))}):  # fmt: skip
        if k:
            yield k, "mean", "median"
    if votes >= 6:
        yield 2, "multi_krum", "mean"
