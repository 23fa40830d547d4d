# %% [markdown]
# # Accuracy by placement

# %%
import pandas as pd

from reports import describe, open_study, show, table
from studies.training import placement
from studies.style import interval

dataset, about = open_study("placement")
describe(about)

# %%
show("placement")

# %% [markdown]
# **How to read it.** Three schemes on the same nodes: every node alone, groups of *r* nodes, and files
# placed by Latin squares (each node holds several files, and no two nodes share more than one). The last two
# cost the same, *r* times the computation of the first. Rows are arrangements of the same number of
# attackers. The panels show what training reaches with two rules after the vote, and the share of votes that
# are lies after it. The batch is the same everywhere, so more files mean fewer images in each vote.
#
# "Secret groups" means that the server draws the groups anew at every step; the attackers sit in the
# worst case of the groups they believe in. "Through the vote" is the strongest attacker here: at
# every step it chooses placement, direction and scale together against the actual server, and
# behaves where it owns no majority.

# %% [markdown]
# ## Test accuracy after the last step
# 95 % Student t intervals over seeds, where there is more than one.

# %%
last = dataset.accuracy.isel(eval_step=-1)
share = placement.lost_share(dataset)


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
# The two rules differ even where nobody lies. The likely reason: gradients of few images are skewed, a
# coordinate-wise median leans towards their more frequent sign, and Latin squares make the smallest files. What
# supports it is that with the geometric median, on the same votes, most of the gap closes. With that rule the scheme
# that loses fewer votes to informed attackers can also be the one that trains better under them, ByzShield's direction;
# with the coordinate-wise median it is not.

# %% [markdown]
# ## Share of votes lost

# %%
table(by_scheme(share.isel(rule=0), interval))

# %% [markdown]
# ## What the search spent
# Evaluations of the server a step, and the best squared error of the aggregate it found, in squared norms
# of the true mean gradient (median over steps).

# %%
if "through the vote" in dataset.arrangement.values:
    searched = dataset.sel(arrangement="through the vote")
    found = searched.search_value / searched.gradient_norm**2
    rows = {
        f"{scheme}, {rule}": {
            "evaluations a step": float(
                searched.search_evaluations.sel(scheme=scheme, rule=rule).mean()
            ),
            "relative squared error found": interval(
                found.sel(scheme=scheme, rule=rule).median("step")
            ),
        }
        for scheme in dataset.scheme.values
        for rule in dataset.rule.values
    }
    table(pd.DataFrame(rows).T.rename_axis("scheme and rule"))
