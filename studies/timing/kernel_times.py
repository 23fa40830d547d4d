"""Times of kernels and their peers, in turns: on rows in memory, and drawn chunk by chunk."""

import collections
import functools
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detox_sim import aggregators, mixers, primitives, voting
from detox_sim.arrays import is_array
from detox_sim.messages import Messages
from detox_sim.primitives.threads import spread
from detox_sim.streams import stream
from studies.timing.beside.peers import KINDS, Peer, installed, same_definition
from studies.timing.limits.operations import COPIES, count, ranks
from studies.timing.limits.rates import OPERATIONS, rate

PRIMITIVES = ("order_mean", "distances", "combine", "equal_rows")
KERNELS = (*PRIMITIVES, "vote", "D-Median", *aggregators.__all__, *mixers.__all__)
GROWTH = ("median", "trimmed_mean", "multi_krum", "geometric_median", "vote", "D-Median")
MOST_PAIRS = 5e8  # n * n * d beyond which only the kernels of `GROWTH` are run
READ = 1 << 20  # values read at a time
MOST_WORK = 2e11  # values read by a peer beyond which it is not run
SLOW = 5.0  # seconds of a peer's first call beyond which it takes no more turns
REST, LONG = 5e-3, 0.1  # seconds: before a burst of more than 1 ms; of a call timed alone
LEAST_RATING, MOST_RATING = 1e-3, 0.02  # seconds that a measurement of a rate takes
FEW = 20_000  # values up to which a call on one column is timed too


def in_memory(fields: dict) -> dict:
    """Measure kernels and their peers on rows that are held in memory; return the table."""
    n, d = fields["rows"], fields["columns"]
    rows = stream(fields["seed"], "kernels", n).standard_normal((n, d), dtype=np.float32)
    table: dict = collections.defaultdict(dict)
    wanted = KERNELS if n * n * d <= MOST_PAIRS or n <= 200 else GROWTH
    distinct = [name for name in wanted if name not in COPIES]
    _take_turns(rows, distinct, fields, table, 0)
    groups = np.arange(n // 3 * 3).reshape(-1, 3)
    for j in (1, 2):
        rows[groups[:, j]] = rows[groups[:, 0]]
    copies = [name for name in wanted if name in COPIES]
    _take_turns(rows[: groups.size], copies, fields, table, fields["repeats"])
    return table


class Timed(NamedTuple):
    """A call to time: the variable that has its time, the place in it, calls at a time."""

    variable: str
    where: tuple[int, ...]
    call: Callable
    calls: int


def _take_turns(rows, names, fields: dict, table: dict, first: int) -> None:
    """Time kernels and their peers in turns, and the machine at the start of each turn."""
    timed: list[Timed] = []
    for name in names:
        timed += _first_call(rows, name, fields, table)
    burst = 1e-3 * fields["burst"]
    often = _often(_read, rows, 0, burst)
    turns = range(first, first + fields["repeats"])
    for turn in turns:
        seconds = _timed(_read, rows, often)[1]
        table["bandwidth"][turn] = rows.nbytes / seconds / 1e9
        for place, operation in enumerate(OPERATIONS):
            speed = rate(operation, min(max(seconds, LEAST_RATING), MOST_RATING))
            table["operation_rate"][place, turn] = speed / 1e9
        for one in timed:
            time.sleep(REST if fields["burst"] > 1 else 0)
            seconds = _timed(one.call, rows, one.calls)[1]
            table[one.variable][*one.where, turn - first] = 1e3 * seconds
    speed = float(np.median([table["bandwidth"][turn] for turn in turns]))
    for name in names:
        if (row := KERNELS.index(name)) in table["floor"]:
            table["floor"][row] *= 1e3 / (speed * 1e9)


def _first_call(rows, name: str, fields: dict, table: dict) -> list[Timed]:
    """Store the memory and operations of one kernel and how far peers differ.

    Returns the calls to time.
    """
    (n, d), place = rows.shape, KERNELS.index(name)
    byzantine = n // 10
    ours = our_kernel(name, n, byzantine)
    try:
        with np.errstate(all="ignore"):
            (result, extra), seconds = _timed(functools.partial(_with_memory, ours), rows)
    except ValueError:
        return []  # mda and smea refuse too many subsets
    table["extra_megabytes"][place] = extra / 1e6
    table["floor"][place] = rows.nbytes + _bytes(result)
    if counted := count(name, n, d):
        kind = OPERATIONS.index(counted.operation)
        table["operations"][place, kind] = counted.needed
        table["executed"][place, kind] = counted.executed
    burst = 1e-3 * fields["burst"]
    often = _often(ours, rows, seconds, burst)
    timed = [Timed("milliseconds", (place,), ours, often)]
    if rows.size <= FEW:
        least = functools.partial(_ignoring, ours, rows[:, :1].copy())
        timed.append(Timed("least_milliseconds", (place,), least, often))
    for peer in installed().get(name, ()) if fields["peers"] else ():
        if peer.passes(n, byzantine) * n * d > MOST_WORK:
            continue
        where = place, KINDS.index(peer.kind)
        call = functools.partial(_call, peer, byzantine)
        theirs, seconds = _timed(call, rows)
        if theirs.shape == np.shape(result):
            table["deviation"][where] = np.abs(theirs - result).max()
        if seconds > SLOW:
            table["peer_milliseconds"][*where, 0] = 1e3 * seconds
        else:
            often = _often(call, rows, seconds, burst)
            timed.append(Timed("peer_milliseconds", where, call, often))
    return timed


def _ignoring(call: Callable, few, rows):
    return call(few)


def _often(call: Callable, rows, seconds: float, burst: float) -> int:
    """Return how many calls take about `burst` seconds, where the first took `seconds`."""
    return 1 if seconds > LONG else max(1, round(burst / _timed(call, rows)[1]))


def _call(peer: Peer, byzantine: int, rows):
    return np.asarray(peer.call(rows, byzantine))


def our_kernel(name: str, n: int, byzantine: int) -> Callable:
    """Return ``call(rows)`` for one of `KERNELS`, in the definition that peers share.

    Examples
    --------
    >>> our_kernel("median", 3, 0)(np.array([[1.0], [5.0], [2.0]]))
    array([2.])
    """
    groups = np.arange(n // 3 * 3).reshape(-1, 3)
    special: dict[str, Callable] = {
        "order_mean": lambda rows: primitives.order_mean(rows, *ranks(name, n)),
        "distances": primitives.distances,
        "combine": lambda rows: primitives.combine(np.full((1, n), 1 / n), rows),
        "equal_rows": lambda rows: primitives.equal_rows(rows, groups),
        "vote": lambda rows: voting.majority(Messages(rows, groups)).rows,
        "D-Median": lambda rows: _d_median(rows, groups),
    }
    if name in special:
        return special[name]
    options = same_definition(name, n, byzantine)
    if name in mixers.__all__:
        options |= {"radius": 1.0} if name == "clipping" else {}
        mixer = getattr(mixers, name)
        return lambda rows: mixer(
            rows, byzantine=byzantine, rng=np.random.default_rng(0), **options
        )
    rule = getattr(aggregators, name)
    return lambda rows: rule(rows, byzantine=byzantine, **options)


def _d_median(rows, groups):
    votes = voting.majority(Messages(rows, groups)).rows
    return voting.hierarchy(
        votes,
        groups=min(5, len(votes)),
        inner=lambda part: aggregators.mean(part, byzantine=0),
        outer=lambda part: aggregators.median(part, byzantine=0),
        rng=np.random.default_rng(0),
    )


def _with_memory(call: Callable, rows):
    """Return the result and the peak bytes allocated beside it; compiles what is not compiled."""
    call(rows[:, :64].copy())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        result = call(rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, max(0, peak - before - _bytes(result))


def _bytes(result) -> int:
    return result.nbytes if is_array(result) else 0


def _timed(call: Callable, rows, calls: int = 1) -> tuple:
    """Return the result and the seconds of a call, the mean of several."""
    start = time.perf_counter()
    for _ in range(calls):
        result = call(rows)
    return result, (time.perf_counter() - start) / calls


def _read(rows) -> None:
    """Read every value once, as fast as the machine can."""
    flat = rows.reshape(-1).view(np.int32)
    spread(np.max, [flat[start : start + READ] for start in range(0, flat.size, READ)])


# --- In chunks ------------------------------------------------------------------------------------


def in_chunks(fields: dict) -> dict:
    """Measure rules on a Dask array that is drawn chunk by chunk and never held."""
    import dask

    names = ("median", "multi_krum")
    table: dict = collections.defaultdict(dict)
    n, d = fields["rows"], fields["columns"]
    rows = _drawn_in_chunks(n, d, fields["chunk"], fields["seed"])
    with (
        dask.config.set(scheduler="threads", num_workers=fields["threads"]),
        _PeakMemory() as memory,
    ):
        drawing = _timed(lambda x: x.map_blocks(_nothing, dtype=np.float32).compute(), rows)[1]
        for name in names:
            rule = our_kernel(name, n, n // 10)
            _, seconds = _timed(lambda x, rule=rule: rule(x).compute(), rows)
            place = KERNELS.index(name)
            table["milliseconds"][place, 0] = 1e3 * seconds
            table["floor"][place] = 1e3 * drawing
    table["bandwidth"][0] = 4 * n * d / drawing / 1e9
    table["peak_gigabytes"][()] = memory.peak / 1e9
    return table


def _drawn_in_chunks(n: int, d: int, chunk: int, seed: int):
    import dask.array as da

    sizes = [min(chunk, d - start) for start in range(0, d, chunk)]

    def draw(block_info=None) -> np.ndarray:
        place, shape = block_info[None]["chunk-location"][1], block_info[None]["chunk-shape"]
        return stream(seed, "kernels in chunks", place).random(shape, dtype=np.float32)

    return da.map_blocks(
        draw, chunks=((n,), tuple(sizes)), dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )


def _nothing(block: np.ndarray) -> np.ndarray:
    return block[:1, :1].copy()  # a view would keep the block


class _PeakMemory:
    """Record the largest resident memory of this process inside a block."""

    def __enter__(self):
        import threading

        import psutil

        self._done, process = threading.Event(), psutil.Process()
        self.peak = process.memory_info().rss

        def watch():
            while not self._done.wait(0.02):
                self.peak = max(self.peak, process.memory_info().rss)

        self._thread = threading.Thread(target=watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
