"""The tables and the controls of the page `explore`, computed before any browser opens it."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from detox_sim import costs, theory
from studies.timing.rounds import IMAGES, METHODS, MODELS, PAIRS
from studies.timing.speed_ups import CODES, KERNELS

WORKERS = range(5, 61)
COPIES = range(1, 16, 2)
MODEL = "ResNet-18"
SERVER = ("vote", "aggregate", "update")  # phases
LOGARITHMIC = {"images": (10, 1000, 130), "gigabits": (0.5, 50, 10)}  # least, most, at first


def tables() -> dict[str, Any]:
    """Return what the page needs to know of each setting, ready for JSON.

    Returns
    -------
    dict
        ``laws[copies][workers][byzantine]``: the chances of 0, 1, 2, ... distorted files.
        ``rules[rule]``: the pipelines ``alone`` and ``detox``, as of `_pipeline`.
        ``network[workers]``: gigabits that pass the server in a round, and seconds of latency.
        ``images``: of a worker and round without redundancy.

    Examples
    --------
    >>> found = tables()
    >>> found["laws"][3][45][5]
    [0.59728, 0.37204, 0.030681]
    >>> found["rules"]["Median"]["detox"]["breaks"][15]
    [0, 0, 0, 0.59341, 0.89011, 0.98002, 0.998, 1]
    """
    return {
        "laws": {r: {p: _laws(p, r) for p in _divided(r)} for r in COPIES if r > 1},
        "rules": {
            alone: {"alone": _pipeline(alone, [1]), "detox": _pipeline(with_copies, COPIES[1:])}
            for alone, with_copies in PAIRS.items()
        },
        "network": {p: _network(p) for p in WORKERS},
        "images": IMAGES,
    }


def _divided(copies: int) -> list[int]:
    """Return the numbers of workers that so many copies divide."""
    return [workers for workers in WORKERS if workers % copies == 0]


def _laws(workers: int, copies: int) -> list[list[float]]:
    """Return the law of distorted files for each number of Byzantine workers."""
    most = (workers - 1) // 2
    return [
        [_short(chance) for chance in theory.distorted_files(workers, byzantine, copies)]
        for byzantine in range(most + 1)
    ]


def _pipeline(name: str, copies: Any) -> dict[str, Any]:
    """Return the facts of a pipeline where it can run, with so many copies.

    ``breaks[votes]``: the chance that its condition fails given 0, 1, 2, ... distorted votes.
    ``seconds[code]["workers/copies"]``: of the server, by the distorted votes that the rules
    assume. The last value of a list holds for all further numbers of distorted votes.
    """
    settings = [(p, r) for r in copies for p in _divided(r) if _runs(name, p // r)]
    votes = sorted({p // r for p, r in settings})
    return {
        "name": name,
        "rules": _rules(name),
        "breaks": {n: _cut(_breaks(name, n)) for n in votes},
        "seconds": {
            code: {f"{p}/{r}": _cut(_server_seconds(name, p, r, cluster)) for p, r in settings}
            for code, cluster in CODES.items()
        },
    }


def _stages(name: str) -> dict[str, Any]:
    return {stage: METHODS[name][stage] for stage in ("groups", "inner", "outer")}


def _rules(name: str) -> str:
    """Return the rules of a pipeline as text.

    Examples
    --------
    >>> _rules("D-Median"), _rules("D-Bulyan")
    ('mean in 5 groups of votes, then median', 'bulyan of the votes')
    """
    groups, inner, outer = _stages(name).values()
    if groups is None:
        return f"{outer} of the votes"
    return f"{inner} in {groups} groups of votes, then {outer}"


def _runs(name: str, votes: int) -> bool:
    """Return whether the rules of a pipeline accept so many votes, none of them distorted."""
    stages = _stages(name)
    return (stages["groups"] or 0) <= votes and not theory.worst_condition(votes, 0, **stages)


def _breaks(name: str, votes: int) -> list[float]:
    certain = np.eye(votes + 1)  # row k: certainly k distorted votes
    stages = _stages(name)
    return [
        _short(theory.condition_violated(votes, certain[distorted], **stages))
        for distorted in range(votes)
    ]


def _work(name: str, workers: int, copies: int, distorted: int) -> dict[str, dict[str, float]]:
    """Return the counted operations of a round."""
    sizes: dict[str, Any] = {"batch": IMAGES * workers} | MODELS[MODEL] | _stages(name)
    sizes |= {"workers": workers, "files": workers // copies, "copies": copies}
    return costs.counts(**sizes, distorted=distorted)


def _server_seconds(name: str, workers: int, copies: int, cluster: costs.Cluster) -> list[float]:
    most = (workers - 1) // 2 // (copies // 2 + 1)
    rounds = [_work(name, workers, copies, distorted) for distorted in range(most + 1)]
    return [_short(sum(cluster.seconds(work[phase]) for phase in SERVER)) for work in rounds]


def _network(workers: int) -> tuple[float, float]:
    """Return the gigabits of a round and its seconds of latency; copies change neither."""
    work = _work("Mean", workers, 1, 0)
    of = {key: work["broadcast"][key] + work["send"][key] for key in ("byte", "message")}
    return _short(of["byte"] * 8e-9), _short(of["message"] * costs.Cluster().latency)


def _short(value: float) -> float:
    """Return a number with five digits, whole ones as integers."""
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() else short


def _cut(values: list[float]) -> list[float]:
    """Return a list without the repetitions of its last value.

    Examples
    --------
    >>> _cut([0, 0, 1, 1, 1])
    [0, 0, 1]
    """
    while len(values) > 1 and values[-1] == values[-2]:
        values = values[:-1]
    return values


def as_json(value: Any) -> str:
    """Return JSON that a script element of HTML can hold: no tag begins or ends in it.

    Examples
    --------
    >>> print(as_json({"a": "</script>"}))
    {"a":"\\u003c/script>"}
    """
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# --- The controls ---------------------------------------------------------------------------------


def controls() -> str:
    """Return the sliders and choices of the page as HTML; their names are those of the fragment."""
    low, high = WORKERS[0], WORKERS[-1]
    rows = [
        _slider("workers", "Workers, <i>p</i>", low, high, 45),
        _slider("byzantine", "Byzantine workers, <i>q</i>", 0, (high - 1) // 2, 5),
        _slider("copies", "Copies of a file, <i>r</i>", COPIES[0], COPIES[-1], 3, step=2),
        _choice("rule", "Rule", {name: name for name in PAIRS}, "Median"),
        _choice("attackers", "Byzantine workers are", {
            "random": "placed at random",
            "informed": "placed where they distort most files",
        }),
        _logarithmic("images", f"Speed of a worker ({MODEL})"),
        _logarithmic("gigabits", "Bandwidth of the server"),
        _choice("server", "Server", KERNELS),
    ]  # fmt: skip
    return f"<div class=controls>{''.join(rows)}</div>"


def _slider(name: str, label: str, low: float, high: float, value: float, step: Any = 1) -> str:
    return (
        f'<label for="{name}">{label}</label><input type=range id="{name}" min="{low:g}" '
        f'max="{high:g}" step="{step}" value="{value:.10g}"><output for="{name}"></output>'
    )


def _logarithmic(name: str, label: str) -> str:
    """Return a slider whose value is the decimal logarithm of what it sets."""
    low, high, value = np.log10(LOGARITHMIC[name])
    return _slider(name, label, low, high, value, step="any")


def _choice(name: str, label: str, texts: Mapping[str, str], chosen: str = "") -> str:
    options = "".join(
        f'<option value="{escape(key)}"{" selected" * (key == chosen)}>{escape(text)}</option>'
        for key, text in texts.items()
    )
    return f'<label for="{name}">{label}</label><select id="{name}">{options}</select><span></span>'


def results() -> str:
    """Return the tables that the script fills, as HTML, and the data that it reads."""
    law = _table("law", ["distorted files"], ["chance", "fails"])
    times = _table("times", ["pipeline", "round"], ["compute", "communication", "aggregation"])
    return (
        '<p id="sentence" role=status></p><p id="nearest" hidden></p><div id="filled" hidden>'
        f"<h3>Distorted files</h3>{law}<h3>Modelled seconds of a round</h3>{times}</div>"
        f'<script id="tables" type="application/json">{as_json(tables())}</script>'
    )


def _table(name: str, columns: list[str], parts: list[str]) -> str:
    """Return an empty table; the heads of columns that the bars show have the colours of these."""
    heads = [f"<th>{column}</th>" for column in columns]
    heads += [f'<th class="{part}">{part}</th>' for part in parts]
    head = f"<thead><tr>{''.join(heads)}<td></td></tr></thead>"
    return f'<div class=table><table>{head}<tbody id="{name}"></tbody></table></div>'
