# %% [markdown]
# # Slow nodes, with liars too

# %%
import numpy as np
import pandas as pd

from reports import describe, open_study, show, table
from studies.redundancy import stragglers

dataset, about = open_study("stragglers")
describe(about)

# %%
show("stragglers")

# %% [markdown]
# **How to read it.** All protocols have the same nodes, batch and draws of slow nodes. (a) and (b) are times of a
# model, with bars of two standard errors over draws; (c) is real: real gradients are encoded, messages are lost
# or replaced by lies, and what arrived is decoded. (a) shows the protocols whose nodes compute little; (b) has all,
# with the share of the batch that a node computes beside the name: a tick is that computation alone, and what lies
# between it and the open circle is mostly messages that queue at the receiver. In (c) light is exact up to
# rounding, dark is wrong, and where a field is hatched the decoder cannot do without the late messages in most rounds:
# it must wait, and takes the time of (a).
#
# Three things decide.
#
# * **Messages cost more than images here.** A flat server takes in one message of every node, one after the other; a
#   tree of the same nodes does that in parallel. That gain needs no code.
# * **A code is an insurance with a premium and a limit.** The premium is the load: every node computes
#   more, in every round. Beyond the limit the round waits for a slow node that has *more* to compute than without a
#   code, and takes longer than if nothing had been coded.
# * **Codes against stragglers trust every message.** One liar that is not late is enough to make gradient coding,
#   CodedReduce and the plain sum wrong, and nobody notices. Votes and DRACO pay for the same load with less
#   tolerance of stragglers, because a late message counts against the same redundancy as a lie.

# %% [markdown]
# ## Modelled time of a round
# Nobody lies. Mean seconds ± two standard errors.

# %%
slowdown = stragglers.shown_slowdown(dataset)
names = [str(name) for name in dataset.protocol.dropna("protocol").values]
shown = [s for s in (0, 1, 2, 4, 6, 12) if s in dataset.stragglers.values]
liars = [int(q) for q in dataset.byzantine.values]
timed = dataset.sel(slowdown=slowdown)
facts = dataset.sel(protocol=names[0])
print(
    f"{float(dataset.draws.max()):.0f} draws; stragglers are {slowdown:g} times slower; a message takes "
    f"{float(facts.message_seconds):.3f} s, and a node without redundancy computes "
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
        "node computes": f"{float(data.share):.1%}",
        "files left out": f"{float(data.left_out):.1%}",
    }
    row |= {late(s): seconds(data.sel(byzantine=liars[0], stragglers=s)) for s in shown}
    rows[name] = row
table(pd.DataFrame(rows).T.rename_axis("protocol"))

# %% [markdown]
# Times need not grow with stragglers: where a decoder needs one or two copies of a file out of several, a slow copy
# does not stand in the queue in front of others.
#
# With liars only two change their time: DETOX needs more than half of each group to agree, and DRACO gives up less
# waiting, since late and lying nodes share what it withstands (a dash: more liars than it withstands). Here with the
# most liars of this dataset, who are not late on purpose:

# %%
most = liars[-1]
rows = {
    name: {late(s): seconds(timed.sel(protocol=name, byzantine=most, stragglers=s)) for s in shown}
    for name in names
    if name.startswith(("DETOX", "DRACO"))
}
table(pd.DataFrame(rows).T.rename_axis(f"{most} {'liar' if most == 1 else 'liars'}"))

# %% [markdown]
# ## Where redundancy pays
# The numbers of stragglers for which the protocol is faster than waiting for all, by more than two standard errors of
# the difference in the same draws, and (in brackets) the most that it saves; nobody lies. Where the first
# number is 0 it is faster even when nobody is slow. A dash: never, among the numbers that were tried.


# %%
def pays(data) -> str:
    """Return for which numbers of stragglers time is saved, and how much at most."""
    better = (data.saved > 2 * data.saved_error).values
    if not better.any():
        return "-"
    tried, places = data.stragglers.values, better.nonzero()[0]
    ends = [
        tried[part[[0, -1]]] for part in np.split(places, (np.diff(places) > 1).nonzero()[0] + 1)
    ]
    where = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in ends)
    return f"{where} ({float(data.saved.max()):.1f} s)"


honest = dataset.sel(byzantine=liars[0])
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
            ): f"{float(timed.seconds.sel(protocol='tree', byzantine=liars[0], stragglers=s) - timed.seconds.sel(protocol=name, byzantine=liars[0], stragglers=s)):+.2f}"
            for s in shown
        }
        for name in names
        if name.startswith("CodedReduce")
    }
    table(pd.DataFrame(rows).T.rename_axis("seconds saved beyond the tree"))

# %% [markdown]
# A code in the tree withstands *any* s late children of every parent, but late nodes fall at random: two of them among the
# children of one parent happen early, and a late child of the master takes its whole sub-tree with it. So the
# advantage of CodedReduce fades gradually, where that of a gradient code ends at once.

# %% [markdown]
# ## What comes out of the decoder
# Of all rounds, in percent: exact / must wait / wrong, when late messages do not come at all. A wrong result
# is not announced by any of these decoders. A liar who is late himself, or below a
# late node of a tree, does no harm, so that some rounds are exact where one liar is enough to spoil them.

# %%
found = stragglers.outcomes(dataset)
lost = [s for s in (0, 1, 2, 6) if s in dataset.stragglers.values]
for q in liars:
    rows = {}
    for name in names:
        row = {}
        for s in lost:
            point = found.sel(protocol=name, byzantine=q, stragglers=s)
            parts = [100 * float(point[part]) for part in ("exact", "waits", "wrong")]
            row[late(s)] = " / ".join(f"{part:.0f}" for part in parts)
        point = found.sel(protocol=name, byzantine=q, stragglers=lost[0])
        row["median error, nobody late"] = f"{float(point.typical):.1e}"
        rows[name] = row
    table(pd.DataFrame(rows).T.rename_axis(f"{q} {'liar' if q == 1 else 'liars'}"))

# %% [markdown]
# ### How exact is exact?
# The largest relative error of all rounds in which nobody lies and the decoder does not wait, for messages in float32 and
# in float64. The weights of a cyclic gradient code are large numbers of both signs that nearly cancel, which
# costs digits; sums of equal copies and the code of DRACO (with the stride used here) lose next to none.

# %%
exact = [name for name in names if not dataset.left_out.sel(protocol=name)]
rows = {
    name: {
        "float32": f"{float(dataset.error.sel(protocol=name, byzantine=liars[0]).max()):.1e}",
        "float64": f"{float(dataset.error_float64.sel(protocol=name).max()):.1e}",
    }
    for name in exact
}
table(pd.DataFrame(rows).T.rename_axis("largest error"))
rounding = dataset.error.where(dataset.error <= stragglers.EXACT).max()
other = dataset.error.where(dataset.error > stragglers.EXACT).min()
print(
    f"of all rounds, with liars too: exact up to {float(rounding):.1e}, and the smallest other error is {float(other):.1e}"
)

# %% [markdown]
# ## When to use what
# The fastest protocol, in the model above, of those that leave no file out and returned the exact sum in every round of (c)
# with as many liars and nobody late; with its seconds.

# %%
rows = {}
for q in liars:
    right = [
        name
        for name in exact
        if found.exact.sel(protocol=name, byzantine=q, stragglers=lost[0]) == 1
        and timed.seconds.sel(protocol=name, byzantine=q).notnull().all()
    ]
    who = "1 liar" if q == 1 else f"{q} liars"
    rows[who] = {}
    for s in shown if right else []:
        times = timed.seconds.sel(protocol=right, byzantine=q, stragglers=s)
        best = right[int(times.values.argmin())]
        rows[who][late(s)] = f"{best} ({float(times.min()):.2f} s)"
table(pd.DataFrame(rows).T.rename_axis(""))

# %% [markdown]
# In words, for this network and this model of time:
#
# * **Nobody slow, nobody lies**: no code. A tree, where nodes can talk to each other.
# * **A few nodes slow, nobody lies**: CodedReduce if stragglers are rare enough that two of them seldom share a parent;
#   else repetition, the simplest code, which takes the first copy of every file and therefore withstands far more
#   random stragglers than the *s* it promises. The cyclic gradient code, at the same load, always needs p - s messages: it is
#   for stragglers that an adversary chooses, or a number of nodes that groups do not divide.
# * **Some may lie**: none of these. DETOX's vote with copies to spare for both: each late node and each liar in a
#   group uses up one of the (r - 1) / 2 that it withstands. DRACO withstands any (r - 1) / 2 of all nodes, but its messages are
#   twice as long, and it has to be told how many liars to expect.
# * **Do not give up late copies lightly**: if the vote takes the majority of those that came, one copy
#   alone decides where the others are late, and liars have it easier than the number of copies says.
# * **A rough gradient is enough**: ignoring the slowest few costs no compute and a few percent of error, until they are more than
#   were planned for. It is no defence against a lie.
#
# What would change the picture: stragglers whose network is slow, slow nodes that are always the same ones (then give
# them less to do), or a faster network, with which the queue at the server matters less and the load more
# (`--set bandwidth=...`). The published speedups of CodedReduce are measured ones, on clusters and batches other than this model's.
