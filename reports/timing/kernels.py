# %% [markdown]
# # Time of the primitives and rules
#
# **The question.** How long does one call of each function of the server take: of votes, rules and mixers (which change the
# rows before a rule)? How near is that to reading the data once, and to what the processor's arithmetic allows? How does
# it grow with the *n* rows of *d* values, and what does a call on few values cost?

# %%
import numpy as np
import pandas as pd

from reports import describe, open_study, show, show_findings, table
from studies.timing.kernel_times import KERNELS
from studies.timing.kernels import in_ram, largest, medians
from studies.timing.limits.roofline import in_reads
from studies.timing.limits.small_calls import beside_peers, overhead

dataset, about = open_study("kernels")
summary = medians(dataset)

# %% [markdown]
# ## What was found

# %%
show_findings("kernels")

# %%
show("kernels")

# %% [markdown]
# **How to read it.** One call of each kernel on the largest array that is held in memory, and the growth of times with
# the number of rows and of columns; the number in brackets is the fitted exponent. The floor is the time to read the
# rows once and to write the result, at the read bandwidth measured between the calls.
#
# The lowest panel has the time in reads of the rows, beside two floors: one by memory, and one by the operations that
# the kernel needs, at the rate at which this machine does nothing else. Both rates are medians of what was measured in the same turns.
#
# **Why.** Distances need work for each pair of rows, so rules built on them grow with the square of *n*, and the others
# with *n*; after DETOX's vote *n* is the number of files, *p / r*. A mixer returns about as many rows as it gets, and must
# write them.

# %% [markdown]
# ## Milliseconds
# Median over the turns.


# %%
sizes = [str(size) for size in dataset["size"].values]


def frame_of(values, digits):
    frame = pd.DataFrame(
        {str(size): values.sel(size=size).values for size in values["size"].values},
        index=pd.Index(KERNELS, name="kernel"),
    )
    return frame.dropna(how="all").dropna(axis=1, how="all").round(digits)


def shown(frame):
    return frame.astype(object).where(frame.notna(), "-")


table(shown(frame_of(summary.ours, 3)))

# %% [markdown]
# ## Share of the floor
# 1 is as fast as reading the data once; the last column needs the data to be drawn again in each pass, which its floor
# counts.

# %%
table(shown(frame_of(summary.share, 2)))

# %% [markdown]
# ## Floors by memory and by operations
# In reads of the rows, at the largest size held in memory: medians over the turns. *executed* counts also the operations
# that no result needs. *share* is the longer floor over the measured time. Loads, stores and conversions are not
# counted, so a share of 1 cannot be reached by all kernels.

# %%
one = largest(in_ram(dataset))
reads = in_reads(one).median(["repeat", "turn"])
table(reads.to_dataframe()[list(reads)].round(2))
rates = one.operation_rate.to_dataframe()["operation_rate"].groupby("operation", sort=False)
frame = rates.agg(["median", "min", "max"]).round(1)
table(frame.rename_axis(f"1e9 operations a second, {int(one.threads)} threads"))

# %% [markdown]
# ## How many times faster than the best peer
# A peer is another library's function for the same definition, or what one writes in NumPy; same rows, same number of
# threads, turns taken. "-": none is installed, or the peer was left out as too slow or too large. `pip install '.[peers]'` installs
# more peers, best in an environment of its own.

# %%
ratios = frame_of(summary.ratio, 1)
if len(ratios):
    table(shown(ratios))
present = [
    str(peer)
    for peer in dataset.peer.values
    if np.isfinite(dataset.peer_milliseconds.sel(peer=peer)).any()
]
print("peers in this run:", ", ".join(present) or "none")
gap = dataset.deviation.max(["size", "peer"])
named = {str(k): float(v) for k, v in zip(gap.kernel.values, gap.values, strict=True) if v == v}
print("largest difference of a result from a peer's:", {k: f"{v:.1e}" for k, v in named.items()})

# %% [markdown]
# ## Small calls
# Our time over the best peer's at the small sizes: above 1 a peer is faster.

# %%
table(shown(frame_of(beside_peers(dataset).ratio, 2)))

# %% [markdown]
# The microseconds of a call on one column, which do not grow with the columns: checks, memory, work on the n x n distances.

# %%
table(shown(frame_of(overhead(dataset), 0)))

# %% [markdown]
# ## Memory
# The most that NumPy allocates during a call beside the result, in megabytes; for the size in chunks the resident
# memory of the whole process, which never holds the rows.

# %%
table(shown(frame_of(dataset.extra_megabytes, 1)))
for size in sizes:
    point = dataset.sel(size=size)
    if float(point.chunk_columns) > 0:
        held = float(4 * point.rows * point.columns / 1e9)
        print(
            f"{size}: {held:.1f} GB of rows in chunks of {int(point.chunk_columns):,} columns, "
            f"{float(point.peak_gigabytes):.1f} GB resident at most"
        )
speeds = pd.DataFrame(
    {"read bandwidth, GB/s": dataset.bandwidth.median("turn").values.round(1)}, index=sizes
)
table(speeds.rename_axis("size"))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
