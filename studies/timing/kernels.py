"""How long every primitive, rule and mixer takes, against one read of the data and peers."""

import functools
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators, mixers, primitives, voting
from detox_sim.arrays import is_array
from detox_sim.catalogue import check_integer, check_known
from detox_sim.messages import Messages
from detox_sim.primitives import use_threads
from detox_sim.primitives.threads import spread
from detox_sim.streams import stream
from studies import Study
from studies.style import DETOX, THEORY, VANILLA
from studies.timing.peers import KINDS, Peer, installed, same_definition

NOTED = {"rows": "rows", "columns": "columns", "chunk_columns": "chunk", "threads": "threads"}

PRIMITIVES = ("order_mean", "distances", "combine", "equal_rows")
COPIES = ("equal_rows", "vote", "D-Median")  # measured on real copies, three of each row
KERNELS = (*PRIMITIVES, "vote", "D-Median", *aggregators.__all__, *mixers.__all__)
GROWTH = ("median", "trimmed_mean", "multi_krum", "geometric_median", "vote", "D-Median")
MOST_PAIRS = 5e8  # n * n * d beyond which only the kernels of `GROWTH` are run
READ = 1 << 20  # values read at a time
HOPELESS = 2e11  # values walked over by a peer beyond which it is not run
SLOW = 5.0  # seconds of a peer's first call beyond which it takes no more turns


def _size(rows: int, columns: int, chunk: int = 0, peers: int = 0) -> dict[str, int]:
    return {"rows": rows, "columns": columns, "chunk": chunk, "peers": peers}


_RESNET18 = 11_173_962
_LARGE = {
    "15 x 10k": _size(15, 10_000, peers=1),
    "45 x 10k": _size(45, 10_000),
    "15 x 100k": _size(15, 100_000),
    "45 x 100k": _size(45, 100_000, peers=1),
    "100 x 100k": _size(100, 100_000),
    "200 x 100k": _size(200, 100_000),
    "400 x 100k": _size(400, 100_000),
    "1000 x 100k": _size(1000, 100_000),
    "45 x 1M": _size(45, 1_000_000, peers=1),
    "200 x 1M": _size(200, 1_000_000, peers=1),
    "15 x 11.2M": _size(15, _RESNET18, peers=1),
    "45 x 11.2M": _size(45, _RESNET18, peers=1),
    "45 x 100M": _size(45, 100_000_000, 1_000_000),
}
_SMALL = {
    "15 x 1k": _size(15, 1000),
    "45 x 1k": _size(45, 1000, peers=1),
    "45 x 10k": _size(45, 10_000, peers=1),
    "200 x 1k": _size(200, 1000),
    "45 x 30k": _size(45, 30_000, 10_000),
}
FIELDS = ("threads", "repeats", "seed", "rows", "columns", "chunk", "peers")
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": ({"threads": 2, "repeats": 2, "seed": 0}, {"size": _SMALL}),
    "laptop": ({"threads": 2, "repeats": 5, "seed": 0}, {"size": _LARGE}),
}


def prepare(fields: dict) -> dict:
    check_known("field of kernels", fields, FIELDS)
    for name in FIELDS:
        check_integer(name, fields[name], 0 if name in ("seed", "chunk", "peers") else 1)
    if fields["rows"] < 6:
        raise ValueError(f"kernels needs rows >= 6, got {fields['rows']}")
    return fields


def cost(fields: dict) -> tuple[float, float]:
    values = fields["rows"] * fields["columns"]
    memory = 3 * 4.0 * fields["rows"] * (fields["chunk"] or fields["columns"])
    if fields["chunk"]:
        return 1 + 2e-8 * values, memory
    return 1 + (fields["repeats"] + 2) * (4e-8 + 1e-10 * fields["rows"]) * values, memory


def run(fields: dict) -> xr.Dataset:
    """Measure one size; a kernel that was not run is NaN."""
    from threadpoolctl import threadpool_limits

    with use_threads(fields["threads"]), threadpool_limits(fields["threads"]):
        table = _in_chunks(fields) if fields["chunk"] else _in_memory(fields)
    shapes = {
        "milliseconds": ("kernel", "repeat"),
        "floor": ("kernel",),
        "extra_megabytes": ("kernel",),
        "peer_milliseconds": ("kernel", "peer", "repeat"),
        "deviation": ("kernel", "peer"),
    }
    sizes = {"kernel": len(KERNELS), "peer": len(KINDS), "repeat": fields["repeats"]}
    variables: dict = {}
    for name, dims in shapes.items():
        values = np.full([sizes[dim] for dim in dims], np.nan)
        for place, value in table[name].items():
            values[place] = value
        variables[name] = (dims, values)
    for name, field in NOTED.items():
        variables[name] = ((), float(fields[field]))
    variables["bandwidth"] = ((), table["bandwidth"])
    variables["peak_gigabytes"] = ((), table.get("peak_gigabytes", np.nan))
    coordinates = {
        "kernel": np.array(KERNELS, dtype=object),
        "peer": np.array(KINDS, dtype=object),
    }
    return xr.Dataset(variables, coords=coordinates)


# --- In memory ------------------------------------------------------------------------------------


def _in_memory(fields: dict) -> dict:
    n, d = fields["rows"], fields["columns"]
    rows = stream(fields["seed"], "kernels", n).standard_normal((n, d), dtype=np.float32)
    table: dict = {name: {} for name in ("milliseconds", "floor", "extra_megabytes")}
    table |= {"peer_milliseconds": {}, "deviation": {}}
    wanted = KERNELS if n * n * d <= MOST_PAIRS or n <= 200 else GROWTH
    alone = [name for name in wanted if name not in COPIES]
    speeds = _race(rows, alone, fields, table)
    groups = np.arange(n // 3 * 3).reshape(-1, 3)
    for j in (1, 2):
        rows[groups[:, j]] = rows[groups[:, 0]]
    speeds += _race(rows[: groups.size], [name for name in wanted if name in COPIES], fields, table)
    return table | {"bandwidth": float(np.median(speeds))}


Contestant = tuple[str, tuple[int, ...], Callable]  # variable, place in it, call(rows)


def _race(rows, names, fields: dict, table: dict) -> list[float]:
    """Let kernels and their peers take turns; return the read bandwidths measured meanwhile."""
    contestants: list[Contestant] = []
    for name in names:
        contestants += _line_up(rows, name, fields, table)
    speeds = []
    for repeat in range(fields["repeats"]):
        speeds.append(rows.nbytes / _timed(_read, rows)[1] / 1e9)
        for variable, where, call in contestants:
            table[variable][*where, repeat] = 1e3 * _timed(call, rows)[1]
    speed = float(np.median(speeds))
    for name in names:
        if (row := KERNELS.index(name)) in table["floor"]:
            table["floor"][row] *= 1e3 / (speed * 1e9)
    return speeds


def _line_up(rows, name: str, fields: dict, table: dict) -> list[Contestant]:
    """Note the memory of one kernel and how far peers differ; return who takes turns."""
    (n, d), place = rows.shape, KERNELS.index(name)
    byzantine = n // 10
    ours = our_kernel(name, n, byzantine)
    try:
        with np.errstate(all="ignore"):
            result, extra = _with_memory(ours, rows)
    except ValueError:
        return []  # mda and smea refuse what would never end
    table["extra_megabytes"][place] = extra / 1e6
    table["floor"][place] = rows.nbytes + _bytes(result)
    contestants: list[Contestant] = [("milliseconds", (place,), ours)]
    for peer in installed().get(name, ()) if fields["peers"] else ():
        if peer.passes(n, byzantine) * n * d > HOPELESS:
            continue
        where = place, KINDS.index(peer.kind)
        call = functools.partial(_call, peer, byzantine)
        theirs, seconds = _timed(call, rows)
        if theirs.shape == np.shape(result):
            table["deviation"][where] = np.abs(theirs - result).max()
        if seconds > SLOW:
            table["peer_milliseconds"][*where, 0] = 1e3 * seconds
        else:
            contestants.append(("peer_milliseconds", where, call))
    return contestants


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


def _in_chunks(fields: dict) -> dict:
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
    """The largest resident memory of this process inside a block, looked at often."""

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


# --- The figure -----------------------------------------------------------------------------------


def medians(dataset: xr.Dataset) -> xr.Dataset:
    """Return the median times, the share of the floor, and the ratio to the best peer.

    Examples
    --------
    >>> times = xr.Dataset({"milliseconds": (("kernel", "repeat"), [[1.0, 3.0, 2.0]]),
    ...                     "floor": ("kernel", [1.0]),
    ...                     "peer_milliseconds": (("kernel", "peer", "repeat"), [[[8.0] * 3]])})
    >>> summary = medians(times)
    >>> [summary[name].item() for name in ("ours", "share", "ratio")]
    [2.0, 0.5, 4.0]
    """
    ours = dataset.milliseconds.median("repeat")
    best = dataset.peer_milliseconds.median("repeat").min("peer")
    return xr.Dataset(
        {"ours": ours, "best": best, "share": dataset.floor / ours, "ratio": best / ours}
    )


def figure(dataset: xr.Dataset) -> Figure:
    """Draw every kernel's time at the largest size in memory, and growth in n and in d."""
    result = Figure(figsize=(10.5, 7.2))
    grid = result.add_gridspec(2, 2, width_ratios=(1.25, 1))
    ax = result.add_subplot(grid[:, 0])
    held = np.flatnonzero(dataset.chunk_columns.values == 0)
    in_memory = dataset.isel(size=held) if held.size else dataset
    largest = in_memory.isel(size=int(np.argmax((in_memory.rows * in_memory.columns).values)))
    _panel_of_times(ax, largest)
    columns = in_memory.columns.values
    common = max(set(columns), key=list(columns).count)
    growth_n = in_memory.isel(size=np.flatnonzero(columns == common))
    _panel_of_growth(result.add_subplot(grid[0, 1]), growth_n, "rows", f"d = {common:,.0f}")
    rows = dataset.rows.values
    often = max(set(rows), key=list(rows).count)
    growth_d = in_memory.isel(size=np.flatnonzero(in_memory.rows.values == often))
    _panel_of_growth(result.add_subplot(grid[1, 1]), growth_d, "columns", f"n = {often:.0f}")
    return result


def _panel_of_times(ax, data: xr.Dataset) -> None:
    summary = medians(data)
    measured = [name for name in KERNELS if float(summary.ours.sel(kernel=name)) > 0]
    summary, data = summary.sel(kernel=measured), data.sel(kernel=measured)
    place = np.arange(len(measured))
    low, high = data.milliseconds.min("repeat"), data.milliseconds.max("repeat")
    ax.hlines(place, low, high, color=DETOX, lw=1.5, alpha=0.6)
    ax.plot(summary.ours, place, "o", color=DETOX, label="ours", ms=5)
    ax.plot(data.floor, place, "|", color=THEORY, ms=11, mew=2, label="floor: one read, one write")
    if np.isfinite(summary.best).any():
        ax.plot(summary.best, place, "D", color=VANILLA, ms=4.5, label="best peer")
    ax.set_yticks(place, measured, fontsize=8)
    size = f"{float(data.rows):.0f} rows of {float(data.columns):,.0f}"
    label = f"milliseconds: {size}, {float(data.threads):.0f} threads"
    ax.set(xscale="log", xlabel=label, ylim=(len(measured) - 0.5, -0.5))
    ax.grid(axis="y", color="0.93")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.03), fontsize=8, ncols=3)


def _panel_of_growth(ax, data: xr.Dataset, name: str, title: str) -> None:
    data = data.sortby(name)
    colours = sns.color_palette("colorblind", len(GROWTH))
    for kernel, colour, marker in zip(GROWTH, colours, "osD^vP", strict=True):
        ours = medians(data).ours.sel(kernel=kernel)
        known = np.isfinite(ours.values)
        x, y = data[name].values[known], ours.values[known]
        label = kernel
        if len(x) > 2:
            label += f" ({np.polyfit(np.log(x), np.log(y), 1)[0]:.2f})"
        ax.plot(x, y, marker=marker, color=colour, ms=4.5, lw=1.2, label=label)
    axis = {"rows": "rows n", "columns": "columns d"}[name]
    ax.set(xscale="log", yscale="log", xlabel=axis, ylabel="milliseconds", title=title)
    ax.set_xticks(x, [f"{value:g}" for value in x], fontsize=8)
    ax.minorticks_off()
    ax.legend(
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        fontsize=7.5,
        title="(fitted exponent)",
        title_fontsize=7.5,
    )


STUDY = Study(
    title="Time of the primitives and rules",
    claim="The paper's claim of speed rests on cheap filtering: after the vote a robust rule sees "
    "p / r rows, and the vote itself is one pass (reported; quoted from memory).",
    definitions=[
        "each time is one call on float32 rows in C order; all contestants take turns, and a "
        "time is the median over the turns (a peer's call of more than 5 s is timed once)",
        "the floor is the time to read the rows once and to write the result, at the read "
        "bandwidth measured in the same turns with the same threads",
        "krum, multi_krum and geometric_median with the options that mean ByzFL's definition, "
        "so that results can be compared; byzantine = n // 10",
        "extra memory is the peak of what NumPy allocates in a call, without the result",
        "vote: whole-vector majority of 3 real copies of each of n / 3 files, winners copied",
        "D-Median: that vote, 5 vote groups, mean in each, median over them",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    version=1,
    scale="standard normal rows",
    exclusive=True,
    processes=1,
    by_name=("laptop",),
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
