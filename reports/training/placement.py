# %% [markdown]
# # Accuracy by placement
#
# **The question.** Attackers who know which workers compute the same file can choose workers that are the majority of many
# files. How accurate does training end then, with groups of workers, with other assignments of files, and without
# redundancy?

# %%
import pandas as pd

from reports import describe, open_study, show, show_findings, table
from studies.training import placement
from detox_sim.sweeps.intervals import interval

dataset, about = open_study("placement")

# %% [markdown]
# ## What was found

# %%
show_findings("placement")

# %%
show("placement")

# %% [markdown]
# **How to read it.** Three schemes on the same workers: every worker alone, groups of *r* workers, and files
# placed by Latin squares (each worker holds several files, and no two workers share more than one). The last two
# cost the same, *r* times the computation of the first. Rows are placements of the same number of Byzantine
# workers. The panels show what training reaches with two rules after the vote, and the share of files that
# are distorted. The batch is the same everywhere, so more files mean fewer images in each vote.
#
# "Secret groups" means that the server draws the groups anew at every step; the Byzantine workers are placed for the
# worst case of groups that are no longer used. "Through the vote" is an attack that is searched: at
# every step it chooses placement, direction and scale together against the actual server, and forges messages only
# where the Byzantine workers have a majority.

# %% [markdown]
# ## Test accuracy after the last step
# 95 % Student t intervals over seeds, where there is more than one.

# %%
last = dataset.accuracy.isel(eval_step=-1)
share = placement.distorted_share(dataset)


def by_scheme(values, render):
    return pd.DataFrame(
        {
            str(scheme): {
                str(row): render(values.sel(scheme=scheme, arrangement=row))
                for row in dataset.arrangement.values
            }
            for scheme in dataset.scheme.values
        }
    ).rename_axis("arrangement")


for rule in dataset.rule.values:
    table(by_scheme(last.sel(rule=rule), interval).rename_axis(f"{rule} of the votes"))

# %% [markdown]
# Where the two rules differ though nobody attacks, a likely reason is the size of the files: gradients of few images are
# skewed, a coordinate-wise median leans towards their more frequent sign, and Latin squares make the smallest files. The
# geometric median does not work by coordinates.

# %% [markdown]
# ## Share of distorted files

# %%
table(by_scheme(share.isel(rule=0), interval))

# %% [markdown]
# ## What the search spent
# Evaluations of the server a step, and the best squared error of the aggregate that the search found, in squared norms
# of the honest mean gradient; means over steps.

# %%
if "through the vote" in dataset.arrangement.values:
    searched = dataset.sel(arrangement="through the vote")
    rows = {
        f"{scheme}, {rule}": {
            "evaluations a step": float(
                searched.search_evaluations.sel(scheme=scheme, rule=rule).mean()
            ),
            "relative squared error found": interval(
                searched.search_error.sel(scheme=scheme, rule=rule).mean("eval_step")
            ),
        }
        for scheme in dataset.scheme.values
        for rule in dataset.rule.values
    }
    table(pd.DataFrame(rows).T.rename_axis("scheme and rule"))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
