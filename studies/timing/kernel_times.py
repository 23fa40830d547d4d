"""Times of kernels and their peers, in turns: on rows in memory, and drawn chunk by chunk."""

import functools
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from detox_sim import aggregators, mixers, primitives, voting
from detox_sim.arrays import is_array
from detox_sim.messages import Messages
from detox_sim.primitives.threads import spread
from detox_sim.streams import stream
from studies.timing.peers import KINDS, Peer, installed, same_definition

PRIMITIVES = ("order_mean", "distances", "combine", "equal_rows")
COPIES = ("equal_rows", "vote", "D-Median")  # measured on real copies, three of each row
KERNELS = (*PRIMITIVES, "vote", "D-Median", *aggregators.__all__, *mixers.__all__)
GROWTH = ("median", "trimmed_mean", "multi_krum", "geometric_median", "vote", "D-Median")
MOST_PAIRS = 5e8  # n * n * d beyond which only the kernels of `GROWTH` are run
READ = 1 << 20  # values read at a time
MOST_WORK = 2e11  # values read by a peer beyond which it is not run
SLOW = 5.0  # seconds of a peer's first call beyond which it takes no more turns


def in_memory(fields: dict) -> dict:
    """Measure kernels and their peers on rows that are held in memory; return the table."""
    n, d = fields["rows"], fields["columns"]
    rows = stream(fields["seed"], "kernels", n).standard_normal((n, d), dtype=np.float32)
    table: dict = {name: {} for name in ("milliseconds", "floor", "extra_megabytes")}
    table |= {"peer_milliseconds": {}, "deviation": {}}
    wanted = KERNELS if n * n * d <= MOST_PAIRS or n <= 200 else GROWTH
    distinct = [name for name in wanted if name not in COPIES]
    speeds = _take_turns(rows, distinct, fields, table)
    groups = np.arange(n // 3 * 3).reshape(-1, 3)
    for j in (1, 2):
        rows[groups[:, j]] = rows[groups[:, 0]]
    speeds += _take_turns(
        rows[: groups.size], [name for name in wanted if name in COPIES], fields, table
    )
    return table | {"bandwidth": float(np.median(speeds))}


Timed = tuple[str, tuple[int, ...], Callable]  # variable, place in it, call(rows)


def _take_turns(rows, names, fields: dict, table: dict) -> list[float]:
    """Time kernels and their peers in turns; return the read bandwidths measured in between."""
    calls: list[Timed] = []
    for name in names:
        calls += _first_call(rows, name, fields, table)
    speeds = []
    for repeat in range(fields["repeats"]):
        speeds.append(rows.nbytes / _timed(_read, rows)[1] / 1e9)
        for variable, where, call in calls:
            table[variable][*where, repeat] = 1e3 * _timed(call, rows)[1]
    speed = float(np.median(speeds))
    for name in names:
        if (row := KERNELS.index(name)) in table["floor"]:
            table["floor"][row] *= 1e3 / (speed * 1e9)
    return speeds


def _first_call(rows, name: str, fields: dict, table: dict) -> list[Timed]:
    """Store the memory of one kernel and how far peers differ; return the calls to time."""
    (n, d), place = rows.shape, KERNELS.index(name)
    byzantine = n // 10
    ours = our_kernel(name, n, byzantine)
    try:
        with np.errstate(all="ignore"):
            result, extra = _with_memory(ours, rows)
    except ValueError:
        return []  # mda and smea refuse too many subsets
    table["extra_megabytes"][place] = extra / 1e6
    table["floor"][place] = rows.nbytes + _bytes(result)
    calls: list[Timed] = [("milliseconds", (place,), ours)]
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
            calls.append(("peer_milliseconds", where, call))
    return calls


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
        "order_mean": lambda rows: primitives.order_mean(rows, n // 4, n - n // 4 - 1),
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


def _timed(call: Callable, rows) -> tuple:
    start = time.perf_counter()
    result = call(rows)
    return result, time.perf_counter() - start


def _read(rows) -> None:
    """Read every value once, as fast as the machine can."""
    flat = rows.reshape(-1).view(np.int32)
    spread(np.max, [flat[start : start + READ] for start in range(0, flat.size, READ)])


# --- In chunks ------------------------------------------------------------------------------------


def in_chunks(fields: dict) -> dict:
    """Measure rules on a Dask array that is drawn chunk by chunk and never held."""
    import dask

    names = ("median", "multi_krum")
    table: dict = {name: {} for name in ("milliseconds", "floor", "extra_megabytes")}
    table |= {"peer_milliseconds": {}, "deviation": {}}
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
    return table | {"bandwidth": 4 * n * d / drawing / 1e9, "peak_gigabytes": memory.peak / 1e9}


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
