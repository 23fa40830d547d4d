# %% [markdown]
# # Growth with workers, parameters and processes
#
# **The question.** A round is one step of training: gradients at *p* workers, messages, a vote, and a robust rule at a
# server. How does its time grow with *p* and with the number of parameters *d*, with DETOX and without?

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from detox_sim import theory
from reports import describe, open_study, show, show_findings, table
from studies.timing import scaling_results as results
from studies.timing.rounds import METHODS, PAIRS, SERVER

dataset, about = open_study("scaling")
orders = results.orders(dataset)
swept, empty = results.efficiency(dataset), results.overhead(dataset)

# %% [markdown]
# ## What was found

# %%
show_findings("scaling")

# %%
show("scaling")

# %% [markdown]
# **How to read it.** Full lines have DETOX's vote, dashed ones do not; numbers in brackets are slopes on these
# logarithmic axes. (a) and (c) are measured: real rows, real copies, the rules of this project. (b) is modelled: the
# time of a whole round at the size of ResNet-18, in which the server's part has constants fitted to (a) and (c), and workers and
# network are those quoted for the paper's cluster, which cannot be measured here. (d) is measured: the same training runs as a
# sweep on Dask and in plain processes without it, in turns.
#
# **Why.** These reasons count operations and hold for every dataset:
#
# * **With the mean in a fixed number of vote groups** (D-Median, D-Geometric median, and D-Mean) the work is linear in p:
#   the vote reads p rows, the means p / r, and the last rule sees k rows whatever the number of workers.
# * **D-Multi-Krum and D-Bulyan are quadratic**, only r² k and r² times cheaper than the rules alone: their inner rule sees
#   votes in numbers that grow with p. The paper's claim of a nearly linear time is for the mean as inner rule.
# * **The coordinate-wise median** alone is linear too, up to logarithms. DETOX does not change its order, only its constant.
# * **The geometric median** works on the distances between rows, p² d, up to 1000 rows and iterates in the coordinates, p d a
#   step, above: its times are no power of p.
# * **Messages are linear in p at one server** whatever the rule.

# %% [markdown]
# ## Theory beside fitted exponents
# Orders of work as the paper states them or as derived here (*T*: all gradients once, *p* workers, *d* parameters, *r* copies, *k* vote
# groups, *I* steps), and exponents with their 95 % intervals, fitted over p >= 150. The last column has the server's constants
# of the DETOX research code.

# %%
table(orders.map(str))

# %% [markdown]
# ## Seconds of the server, measured
# Median over the turns, vote and rules.

# %%
by_workers = results.along(dataset, "workers")
by_size = results.along(dataset, "parameters")
for sizes, label, name, other in (
    (by_workers, "p", "workers", "parameters"),
    (by_size, "d", "parameters", "workers"),
):
    if not sizes.part.size:
        continue
    frame = pd.DataFrame(
        {
            f"{label} = {float(size):,.0f}": sizes.total.isel(part=i).values
            for i, size in enumerate(sizes[name])
        },
        index=list(METHODS),
    )
    shown = frame.map(lambda value: "-" if np.isnan(value) else f"{value:.2g}")
    table(
        shown.rename_axis(
            f"seconds at {'d' if label == 'p' else 'p'} = {float(sizes[other][0]):,.0f}"
        )
    )

# %% [markdown]
# ## The fitted constants
# Least squares of relative errors with constants of 0 or more, on two thirds of the sizes; intervals are the 2.5 and 97.5
# percentiles of a bootstrap over settings (a method at a size). Beside them those of the DETOX research code.

# %%
if by_workers.part.size:
    found = results.fitted(dataset)
    code = type(found.cluster)()
    constants = {}
    for name in SERVER:
        low, high = found.interval(name)
        constants[name] = {
            "fitted here": f"{getattr(found.cluster, name):.2g}",
            "95 % interval": f"{low:.2g} to {high:.2g}",
            "DETOX research code": f"{getattr(code, name):.2g}",
        }
    table(pd.DataFrame(constants).T.rename_axis("seconds"))

# %% [markdown]
# Relative errors at the sizes that were not fitted (modelled / measured - 1). Kernels change their method with the number of
# rows (a sorting network up to 128 of them, a sort above), and caches make small arrays cheap: one
# constant for all sizes is a rough model, and an extrapolation is as uncertain as these errors, which are larger than
# the bands of (b).

# %%
if by_workers.part.size:
    errors = results.measured_rounds(dataset).errors(found.cluster)
    summary = {
        phase: {
            "settings": f"{len(values)}",
            "median": f"{np.median(values):+.0%}",
            "median size": f"{np.median(abs(values)):.0%}",
            "80 % lie between": f"{np.quantile(values, 0.1):+.0%} and {np.quantile(values, 0.9):+.0%}",
        }
        for phase, values in errors.items()
    }
    table(pd.DataFrame(summary).T.rename_axis("phase"))

# %% [markdown]
# ## A round at the paper's size and beyond, modelled
# Seconds for ResNet-18 with our kernels (95 % interval of the constants) and, in brackets, with the constants of the DETOX
# research code; one server at 10 Gbit/s. Of that code's geometric median no time is known: its numbers are for the algorithm used
# here.

# %%


def cell(method, workers):
    one = times.sel(pipeline=method, workers=workers)
    low, high = bounds.sel(pipeline=method, workers=workers)
    return f"{float(one.ours):.3g} ({float(low):.3g} to {float(high):.3g}) [{float(one.code):.3g}]"


if by_workers.part.size:
    times = results.modelled(found)
    bounds = results.ends(times).transpose(..., "quantile")
    seconds = {m: {f"p = {p}": cell(m, p) for p in times.workers.values} for m in METHODS}
    table(pd.DataFrame(seconds).T.rename_axis("seconds"))
    gain = {}
    for vanilla, detox in PAIRS.items():
        ours = times.ours
        gain[vanilla] = {
            f"p = {p}": f"{float(ours.sel(pipeline=vanilla, workers=p) / ours.sel(pipeline=detox, workers=p)):.2f} "
            f"[{float(times.code.sel(pipeline=vanilla, workers=p) / times.code.sel(pipeline=detox, workers=p)):.2f}]"
            for p in times.workers.values
        }
    table(pd.DataFrame(gain).T.rename_axis("speed-up by DETOX"))

# %% [markdown]
# ## A sweep on Dask beside plain processes
# Median over the turns, with the range. Both sides run the same training runs in processes that were started and warmed up before, and
# take turns; what the machine takes (shared caches and memory, other programs) falls on both. Each plain process runs an equal part of the
# cells and keeps nothing; the sweep is what a user has: Dask hands out the cells, and each becomes a file with its provenance.

# %%


def spread(value, digits=2):
    if isinstance(value, str):
        return value
    middle, low, high = value
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if len(swept):
    table(swept.map(spread))

# %% [markdown]
# ## The overhead of a cell
# Cells that return 14 variables and do next to nothing, on two processes: whole seconds over the number of cells, the driver included. The last
# row is the least that one file for each cell takes: the same variables, written by netCDF-4 alone, without attributes, digest and provenance.

# %%
if len(empty):
    table(empty.map(spread))

# %% [markdown]
# ## All orders of work

# %%
display(Markdown(theory.complexity_markdown()))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
