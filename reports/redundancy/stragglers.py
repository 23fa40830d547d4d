# %% [markdown]
# # Slow and Byzantine workers
#
# **The question.** If more workers than one compute the same file, the server need not wait for the slow ones (stragglers).
# How much time does that save, and is the sum right when a worker is Byzantine?

# %%
import numpy as np
import pandas as pd

from reports import describe, open_study, show, show_findings, table
from studies.redundancy.stragglers_results import EXACT, outcomes, shown_slowdown

dataset, about = open_study("stragglers")

# %% [markdown]
# ## What was found
# Seconds of a modelled round, and real decoded sums, of protocols that leave no file out.
# Times are without Byzantine workers, ± two standard errors over draws.

# %%
show_findings("stragglers")

# %%
show("stragglers")

# %% [markdown]
# **How to read it.** All protocols have the same workers, batch and draws of slow workers. (a) and (b) are times of a
# model, with bars of two standard errors over draws; (c) is real: real gradients are encoded, messages are removed
# or forged, and what is left is decoded. (a) shows the protocols of small load; (b) has all, with the share of
# the batch that a worker computes beside the name: a tick is that computation alone, and the distance from it
# to the open circle is mostly the time of messages that queue at the receiver. In (c) light is exact up to
# rounding, dark is wrong, and a field is hatched where the decoder cannot do without the late messages in most rounds:
# it must wait, and takes the time of (a).
#
# **Why.**
#
# * **A flat server takes in one message of every worker, one after the other**; a tree of the same workers does that in
#   parallel. This needs no code.
# * **A code costs load and has a limit.** Every worker computes more, in every round. Beyond the limit the round waits for a
#   slow worker that has *more* to compute than without a code.
# * **Codes against stragglers trust every message**: gradient coding, CodedReduce and the plain sum do not detect a wrong
#   one. For votes and DRACO a late message counts against the same redundancy as a forged one.

# %% [markdown]
# ## Modelled time of a round
# No worker is Byzantine. Mean seconds ± two standard errors.

# %%
slowdown = shown_slowdown(dataset)
names = [str(name) for name in dataset.protocol.dropna("protocol").values]
shown = [s for s in (0, 1, 2, 4, 6, 12) if s in dataset.stragglers.values]
counts = [int(q) for q in dataset.byzantine.values]  # of Byzantine workers
timed = dataset.sel(slowdown=slowdown)
facts = dataset.sel(protocol=names[0])
print(
    f"{float(dataset.draws.max()):.0f} draws; stragglers are {slowdown:g} times slower; a message takes "
    f"{float(facts.message_seconds):.3f} s, and a worker without redundancy computes "
    f"{float(facts.compute_seconds):.2f} s at least"
)


def late(s) -> str:
    """Return the heading of a column."""
    return "1 straggler" if s == 1 else f"{s} stragglers"


def seconds(point) -> str:
    """Return the mean with two standard errors, or a dash where the protocol cannot do it."""
    if point.seconds.isnull():
        return "-"
    return f"{float(point.seconds):.2f} ± {2 * float(point.seconds_error):.2f}"


rows = {}
for name in names:
    data = timed.sel(protocol=name)
    row = {
        "load": f"{float(data.compute_load):.1%}",
        "files left out": f"{float(data.left_out):.1%}",
    }
    row |= {late(s): seconds(data.sel(byzantine=counts[0], stragglers=s)) for s in shown}
    rows[name] = row
table(pd.DataFrame(rows).T.rename_axis("protocol"))

# %% [markdown]
# Times need not grow with stragglers: where a decoder needs one or two copies of a file out of several, a slow copy
# does not stand in the queue in front of others.
#
# Byzantine workers change the time of two protocols only: DETOX needs more than half of each group to agree, and DRACO waits for more
# messages, since late and forged ones share what it withstands (a dash: more Byzantine workers than it withstands). Here with the
# most Byzantine workers of this dataset, none of them late on purpose:

# %%
most = counts[-1]
rows = {
    name: {late(s): seconds(timed.sel(protocol=name, byzantine=most, stragglers=s)) for s in shown}
    for name in names
    if name.startswith(("DETOX", "DRACO"))
}
table(pd.DataFrame(rows).T.rename_axis(f"{most} Byzantine"))

# %% [markdown]
# ## Where redundancy pays
# The numbers of stragglers for which the protocol is faster than waiting for all, by more than two standard errors of
# the difference in the same draws, and (in brackets) the most that it saves; no worker is Byzantine. Where the first
# number is 0 it is faster even when no worker is slow. A dash: never, among the numbers that were tried.


# %%
def pays(data) -> str:
    """Return for which numbers of stragglers time is saved, and how much at most."""
    better = (data.saved > 2 * data.saved_error).values
    if not better.any():
        return "-"
    tried, found = data.stragglers.values, better.nonzero()[0]
    ends = [tried[part[[0, -1]]] for part in np.split(found, (np.diff(found) > 1).nonzero()[0] + 1)]
    where = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in ends)
    return f"{where} ({float(data.saved.max()):.1f} s)"


honest = dataset.sel(byzantine=counts[0])
rows = {
    name: {
        f"{x:g} x slower": pays(honest.sel(protocol=name, slowdown=x))
        for x in dataset.slowdown.values
    }
    for name in names[1:]
}
table(pd.DataFrame(rows).T.rename_axis("protocol"))
print("stragglers tried:", ", ".join(str(s) for s in dataset.stragglers.values))

# %% [markdown]
# CodedReduce should be held against the tree without a code, not against a flat server: how much of the time it
# saves is the tree's, and how much the code's?

# %%
if "tree" in names:
    rows = {
        name: {
            late(
                s
            ): f"{float(timed.seconds.sel(protocol='tree', byzantine=counts[0], stragglers=s) - timed.seconds.sel(protocol=name, byzantine=counts[0], stragglers=s)):+.2f}"
            for s in shown
        }
        for name in names
        if name.startswith("CodedReduce")
    }
    table(pd.DataFrame(rows).T.rename_axis("seconds saved beyond the tree"))

# %% [markdown]
# A code in the tree withstands *any* s late children of every parent, but late workers are random: two children of one parent
# are soon late together, and a late child of the master delays its whole sub-tree. So the advantage of CodedReduce
# shrinks gradually, where that of a gradient code ends at once.

# %% [markdown]
# ## The decoded sum
# Of all rounds, in percent: exact / must wait / wrong, when late messages never arrive. None of these decoders detects a wrong
# result. A Byzantine worker that is late itself, or below a late worker of a tree, does no harm, so some rounds are
# exact where one Byzantine worker is enough for a wrong sum.

# %%
found = outcomes(dataset)
some = [s for s in (0, 1, 2, 6) if s in dataset.stragglers.values]
for q in counts:
    rows = {}
    for name in names:
        row = {}
        for s in some:
            point = found.sel(protocol=name, byzantine=q, stragglers=s)
            parts = [100 * float(point[part]) for part in ("exact", "waits", "wrong")]
            row[late(s)] = " / ".join(f"{part:.0f}" for part in parts)
        point = found.sel(protocol=name, byzantine=q, stragglers=some[0])
        row["median error, none late"] = f"{float(point.typical):.1e}"
        rows[name] = row
    table(pd.DataFrame(rows).T.rename_axis(f"{q} Byzantine"))

# %% [markdown]
# ### The error of an exact sum
# The largest relative error of all rounds without Byzantine workers in which the decoder does not wait, for messages in float32 and
# in float64. The weights of a cyclic gradient code are large numbers of both signs that nearly cancel, which
# costs digits; sums of equal copies and the code of DRACO (with the stride used here) cost almost none.

# %%
exact = [name for name in names if not dataset.left_out.sel(protocol=name)]
rows = {
    name: {
        "float32": f"{float(dataset.error.sel(protocol=name, byzantine=counts[0]).max()):.1e}",
        "float64": f"{float(dataset.error_float64.sel(protocol=name).max()):.1e}",
    }
    for name in exact
}
table(pd.DataFrame(rows).T.rename_axis("largest error"))
rounding = dataset.error.where(dataset.error <= EXACT).max()
other = dataset.error.where(dataset.error > EXACT).min()
print(
    f"of all rounds, Byzantine workers or not: exact up to {float(rounding):.1e}, and the smallest other error is {float(other):.1e}"
)

# %% [markdown]
# ## When to use what
# The fastest protocol, in the model above, of those that leave no file out and returned the exact sum in every round of (c)
# with as many Byzantine workers and none late; with its seconds.

# %%
rows = {}
for q in counts:
    right = [
        name
        for name in exact
        if found.exact.sel(protocol=name, byzantine=q, stragglers=some[0]) == 1
        and timed.seconds.sel(protocol=name, byzantine=q).notnull().all()
    ]
    row = rows[f"{q} Byzantine"] = {}
    for s in shown if right else []:
        times = timed.seconds.sel(protocol=right, byzantine=q, stragglers=s)
        best = right[int(times.values.argmin())]
        row[late(s)] = f"{best} ({float(times.min()):.2f} s)"
table(pd.DataFrame(rows).T.rename_axis(""))

# %% [markdown]
# Reasons to choose, beside the times of the table:
#
# * **No worker slow, none Byzantine**: a code has nothing to correct. A tree needs workers that can send to each other.
# * **A few workers slow, none Byzantine**: CodedReduce while stragglers are so rare that two of them seldom share a parent.
#   Repetition is the simplest code; it takes the first copy of every file and therefore withstands more
#   random stragglers than the *s* it promises. The cyclic gradient code, at the same load, always needs p - s messages: it is
#   for stragglers that an adversary chooses, or a number of workers that groups do not divide.
# * **Some may be Byzantine**: none of these. DETOX's vote with copies to spare for both: each late and each Byzantine worker of a
#   group uses up one of the (r - 1) / 2 that it withstands. DRACO withstands any (r - 1) / 2 of all workers, but its messages are
#   twice as long, and it must know how many are Byzantine.
# * **Do not drop late copies lightly**: if the vote takes the majority of those that arrived, one copy
#   alone decides where the others are late, and a file is distorted more easily than the number of copies says.
# * **A rough gradient is enough**: ignoring the slowest few costs no compute and an error, which the tables give. It is no
#   defence against a forged message.
#
# The result would differ with stragglers whose network is slow, with slow workers that are always the same ones (then give
# them less to compute), or with a faster network, with which the queue at the server matters less and the load more
# (`--set bandwidth=...`). The published speedups of CodedReduce are measured, on clusters and batches other than this model's.

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
