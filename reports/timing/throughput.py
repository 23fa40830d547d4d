# %% [markdown]
# # Speed of training
#
# **The question.** How fast does the simulation train beside the same training written plainly in torch, and beside ByzFL,
# another simulator of Byzantine workers?

# %%
import inspect

import numpy as np
import pandas as pd

from reports import describe, open_study, show, show_findings, table
from studies.timing.beside import simulators
from studies.timing.throughput_results import (
    BARS,
    SIMULATORS,
    faster,
    limit,
    measured,
    ranged,
    speeds,
    target,
    verdict,
)

dataset, about = open_study("throughput")
trained = measured(dataset, "seconds")
chosen = measured(dataset, "batching_seconds")
formats = measured(dataset, "format_seconds")
compared = measured(dataset, "simulator_seconds")

# %% [markdown]
# ## What was found

# %%
show_findings("throughput")

# %%
show("throughput")

# %% [markdown]
# **How to read it.** Above left: the speed of a round here over that of plain torch on the same files, in the same turns, with
# one thread; 1 is as fast. A *round* is what training needs: images drawn, gradients of all files, vote, aggregation,
# update. *With judging* adds what only a simulation can know (errors, cosine, weights); *whole train* everything else,
# set-up and evaluations included. Below left: the time of the gradients of 15 files one by one over that of several at once, which is faster above 1.
# Right: the same experiment here and in ByzFL, as shares of ByzFL's time.

# %% [markdown]
# ## Beside plain torch
# Plain torch has a forward and a backward pass for each file, as redundancy needs the gradients of the files apart; one pass over the whole batch
# would give their sum alone. Median over the turns, with their range. Images a second of processor time: what one core does that is left to it. The
# deviation is the largest difference of a parameter after the first turn, beside the farthest that one moved.

# %%
rows = {}
ratios = speeds(trained)
for setting in trained.setting.values:
    point = trained.sel(setting=setting)
    seconds = point.seconds.sel(clock="processor").median("turn")
    ends = ratios.sel(setting=setting, clock="processor")
    ours = float(seconds.sel(timed=list(BARS["round"])).sum())
    rows[setting] = {
        "plain torch, images/s": f"{float(point.images_a_turn / seconds[0]):,.0f}",
        "round, images/s": f"{float(point.images_a_turn) / ours:,.0f}",
        **{f"{bar}, relative": ranged(ends.sel(bar=bar)) for bar in BARS},
        "round, by the clock": ranged(ratios.sel(setting=setting, clock="wall", bar="round")),
        "target of a round": f"{target(setting):g}: "
        + verdict(ends.sel(bar="round").values.tolist(), target(setting)),
        "deviation / movement": f"{float(point.deviation):.1e} / {float(point.movement):.1e}",
    }
table(pd.DataFrame(rows).T.rename_axis("model"))

# %% [markdown]
# ## Where a round goes
# Shares of a round with judging, in percent of processor time.

# %%
parts = trained.seconds.sel(clock="processor", timed=list(BARS["with judging"]))
parts = parts.median("turn")
shares = (100 * parts / parts.sum("timed")).round(1)
table(shares.to_pandas().astype(object).rename_axis("model").rename_axis(None, axis=1))

# %% [markdown]
# ## Files one by one, or at once
# Time of 15 files one by one / time at once, by images a file; above 1 at once is faster. *In training*: what a run
# takes. Models of matrix products take all files at once. Convolutions on images of at most 28 x 28 pixels take several: files that
# have 131,072 pixels or fewer together; more took longer where this was chosen. A dash stands where two files have more. *Alone*: whether a file's gradient has the same bits as
# when it is computed by itself, as the copies of a file at different workers must. *Gap*: largest difference of the two
# ways, relative to the largest value.


# %%
def number(value):
    """Return two decimals, or a dash for what was not measured."""
    return "-" if np.isnan(value) else f"{float(value):.2f}"


def training(point):
    """Return for which images a file training takes several files at once."""
    sizes = [f"{size:g}" for size in point.images.values[point.at_once_in_training.values == 1]]
    return f"at once with {', '.join(sizes)} images" if sizes else "one after the other"


rows = {}
for setting in chosen.setting.values:
    point = chosen.sel(setting=setting)
    gain = (point.batching_seconds[0] / point.batching_seconds[1]).median("turn")
    same = point.same_bits.min("images")
    rows[setting] = (
        {f"{size:g} images": number(gain.sel(images=size)) for size in point.images.values}
        | {f"alone, {name}": "same bits" if float(same.sel(batching=name)) else "other bits" for name in point.batching.values}
        | {"gap": f"{float(point.batching_gap.max()):.1e}"}
        | {"in training": training(point)}
    )  # fmt: skip
table(pd.DataFrame(rows).T.rename_axis("model"))

# %% [markdown]
# ## Memory order and precision
# Speed relative to float32 in the usual order, on this machine. Both are options of a trial; neither is a default.

# %%
rows = {}
for setting in formats.setting.values:
    point = formats.sel(setting=setting)
    gain = (point.format_seconds.sel(format="float32") / point.format_seconds).median("turn")
    for name in point.format.values:
        gap = float(point.format_gap.sel(format=name))
        rows[f"{setting}, {name}"] = {"speed": f"{float(gain.sel(format=name)):.2f}", "gap": f"{gap:.1e}"}  # fmt: skip
table(pd.DataFrame(rows).T.rename_axis("model"))

# %% [markdown]
# ## Beside ByzFL
# Whole runs of the same experiment, seed by seed, set-up and evaluations included; which side runs first changes with the turn.
# Models, clients, attackers, server, rules and the split of the data are ByzFL's; the loop over its steps is written below.
# Its defaults are other than what both sides share: 45 workers with 32 images, momentum 0.9 at the server and none at the clients, no
# weight decay.
#
# *What differs.*
# * ByzFL splits the data into parts, one a client, and leaves the gradients of the five attackers out. Here all workers draw from all data,
#   and all 45 gradients are computed.
# * Here every step of a history has errors, the cosine, and the weight of every vote in the aggregate. ByzFL records nothing of a step.
# * ByzFL's clients multiply and add their momentum, which is zero. Its loaders fetch image by image, as its users' do, but from
#   images that are ready in memory.
# * Distances between rows are summed in float64 here; the study `kernels` counts their operations, and says how much of the time these alone
#   take. The five forged rows of ALIE are equal, and are measured once here.
# * With nnm ByzFL holds n - f copies of all rows in memory.
# * `train` lets glibc keep freed memory for the next step. That holds for the whole process, so also for ByzFL's runs in it.
#
# *Times faster* is by processor time, *by the clock* by the time that passes. *Rounds alone* leaves out set-up and evaluations on both sides,
# what only the history needs here, and the sending of the parameters to the clients there. *Limit* is how many times faster a run here
# would be if only its gradients took time, which torch computes on both sides.

# %%
if not compared.sizes["setting"]:
    print(
        "ByzFL was not installed where this ran: pip install '.[peers]', in an environment of its own."
    )
rows = {}
gains, limits = faster(compared), limit(compared)
for setting in compared.setting.values:
    point, ends = compared.sel(setting=setting), gains.sel(setting=setting)
    seconds = point.simulator_seconds.median("turn")
    row = {
        "steps": f"{float(point.steps):g}",
        "times faster": ranged(ends.sel(clock="processor")),
        "by the clock": ranged(ends.sel(clock="wall")),
        "rounds alone": ranged(ends.sel(clock="rounds alone")),
        "limit": f"{float(limits.sel(setting=setting)):.2f}",
        "target": f"{target(setting):g}: "
        + verdict(ends.sel(clock="processor").values.tolist(), target(setting)),
    }
    for simulator in SIMULATORS:
        split = seconds.sel(simulator=simulator)
        row[f"{simulator}: " + ", ".join(split.part.values) + ", s"] = ", ".join(
            f"{value:.2f}" for value in split.values
        )
    if float(point.real_images):
        for simulator in SIMULATORS:
            found = point.accuracy.sel(simulator=simulator).values
            row[f"{simulator}: accuracy"] = f"{np.mean(found):.3f} ({found.min():.3f} to {found.max():.3f})"  # fmt: skip
    rows[setting] = row
if rows:
    table(pd.DataFrame(rows).T.fillna("-").rename_axis("experiment"))

# %% [markdown]
# ### Repeat one experiment
# `experiment` returns our `Trial`; `byzfl` builds the same of ByzFL's `Client`, `ByzantineClient` and `Server`. Both return seconds by the
# clock of gradients, aggregation and the rest, all seconds of the processor, and the final accuracy.
#
# ```python
# # pip install '.[peers]' in an environment of its own; OMP_NUM_THREADS=1
# from detox_sim.models import one_thread
# from studies.timing.beside import simulators
#
# trial = simulators.experiment("MLP", "multi_krum", steps=200, seed=0, mixers=[], data="fashion_mnist")
# with one_thread():
#     print(simulators.ours(trial), simulators.byzfl(trial))
# ```
#
# The trial, with every option that both sides share:

# %%
print(simulators.experiment("MLP", "multi_krum", 200, 0, data="fashion_mnist"))

# %% [markdown]
# How this package runs it, and ByzFL's side of the comparison:

# %%
for part in (simulators.ours, simulators.byzfl, simulators._Simulation):
    print(inspect.getsource(part))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
