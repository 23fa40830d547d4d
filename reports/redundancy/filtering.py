# %% [markdown]
# # Lost votes after filtering

# %%
import pandas as pd
from IPython.display import Markdown, display

from detox_sim import theory
from reports import describe, open_study, show, table

dataset, about = open_study("filtering")
describe(about)

# %%
show("filtering")

# %% [markdown]
# **How to read it.** Each panel has its own number of nodes *p* and of copies *r*. The line is the
# exact expectation (integers, no approximation), the points are simulated placements, the dashed and
# dash-dotted lines are upper bounds, and the dotted line is what attackers get who know the groups
# and place themselves best. Three things decide: expected losses fall steeply with *r*, but only
# while the Byzantine share is small; the bound with 40 says nothing above a share of 2.6 % while the
# one with 4 follows the law up to one half; and against the worst placement more copies help little until a majority of a group outnumbers the attackers.

# %% [markdown]
# ## Simulation against the exact law
# The largest distance of the simulated mean from the exact expectation, in standard errors of the exact
# law, and in how many of the points it is above 2 (about 5 % are expected to be). Only points where at
# least ten losses are expected in all draws count: rarer ones are not near a normal law.

# %%
frequent = dataset.exact * dataset.draws >= 10
score = (abs(dataset.simulated - dataset.exact) / dataset.simulated_error).where(frequent)
rows = [
    {
        "p": int(p),
        "largest distance": float(score.sel(workers=p).max().round(2)),
        "share above 2": float((score.sel(workers=p) > 2).sum() / frequent.sel(workers=p).sum()),
        "points": int(frequent.sel(workers=p).sum()),
    }
    for p in dataset.workers.values
]
table(pd.DataFrame(rows).round(3).set_index("p"))

# %% [markdown]
# ## The law at p = 45, q = 5
# The chance that no vote is lost, the expectation and the 95 % quantile under random placement, the worst
# placement, and the copies that corollary 2 of the paper recommends.

# %%
if 45 in dataset.workers.values:
    point = dataset.sel(workers=45, byzantine_of_45=5)
    frame = pd.DataFrame(
        {
            "votes": [45 // int(r) for r in point.copies.values],
            "chance of no loss": point.none_lost.values.round(6),
            "expected losses": point.exact.values.round(6),
            "95 % quantile": point.upper_95.values.astype(int),
            "worst placement": point.worst_case.values.astype(int),
        },
        index=pd.Index(point.copies.values, name="r"),
    )
    table(frame)
    print("recommended copies for q = 5:", theory.recommended_copies(5))

# %% [markdown]
# ## The chance that a pipeline's condition fails
# A hierarchy fails in a round when more votes, or vote groups, are bad than its rules withstand: exact under random
# placement, vote groups drawn at random. 45 nodes in groups of three; a dash where a rule cannot run on so few rows.

# %%
if 45 in dataset.workers.values and 3 in dataset.copies.values:
    fails = dataset.condition_fails.sel(workers=45, copies=3)
    chosen = [q for q in (2, 5, 8, 10, 15, 20) if q in dataset.byzantine_of_45.values]
    frame = fails.sel(byzantine_of_45=chosen).transpose("hierarchy", "byzantine_of_45").to_pandas()
    frame.columns = [f"q = {q}" for q in chosen]
    table(frame.map(lambda chance: "-" if chance != chance else f"{chance:.3g}"))

# %% [markdown]
# The plain mean fails as soon as one vote is lost; two groups under Multi-Krum and Bulyan over all votes fail only when
# the losses pile up. A chance of 0 says that the rule's own guarantee
# applies, not that an attack does no harm.
#
# ## Bounds, and what is proven

# %%
statements = {form: {"status": status} for form, status in theory.BOUNDS.items()}
for delta in (0.1, 0.01):
    most = theory.high_probability_distorted_files(delta)
    statements[f"corollary 2, delta = {delta:g}"] = {
        "status": f"at most {most:.2f} lost votes, as published, quoted from memory"
    }
for rule in ("geometric_median", "median"):
    groups, error = theory.hierarchical_error(
        rule, sigma=1.0, batch=1440, parameters=11_173_962, delta=0.05
    )
    statements[f"theorem 3, {rule}"] = {
        "status": f"asks for {groups:.0f} vote groups; error {error:.3f} sigma times a constant "
        "that is not given; the paper's own runs have 2 to 5 groups"
    }
table(pd.DataFrame(statements).T.rename_axis("bound"))

# %% [markdown]
# ## Orders of work
# *T* is the time to compute all gradients once, *I* the steps of the geometric median, *k* the vote groups.

# %%
display(Markdown(theory.complexity_markdown()))
