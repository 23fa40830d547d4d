# %% [markdown]
# # Accuracy by placement

# %%
import pandas as pd

from reports import describe, open_study, show, table
from studies import placement
from studies.style import interval

dataset, about = open_study("placement")
describe(about)

# %%
show("placement")

# %% [markdown]
# **How to read it.** Three schemes of the same computation but for "Alone": every node alone, groups of
# *r* nodes, and files placed by Latin squares (each node holds several files, and no two nodes share
# more than one). Lines are arrangements of the same number of attackers. Left is what training
# reaches, right the share of votes that are lies after the vote. Both panels share their rows.
#
# "Secret groups" means that the server draws the groups anew at every step; the attackers sit in the
# worst case of the groups they believe in. "Through the vote" is the strongest attacker here: at
# every step it chooses placement, direction and scale together against the actual server, and
# behaves where it owns no majority.

# %% [markdown]
# ## Test accuracy after the last step

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


table(by_scheme(last, interval))

# %% [markdown]
# ## Share of votes lost

# %%
table(by_scheme(share, interval))

# %% [markdown]
# ## What the search spent
# Evaluations of the server a step, and the best squared error of the aggregate it found, in squared norms
# of the true mean gradient (mean over steps and seeds).

# %%
searched = dataset.sel(arrangement="through the vote")
rows = {
    str(scheme): {
        "evaluations a step": float(searched.search_evaluations.sel(scheme=scheme).mean()),
        "relative squared error found": round(
            float(
                (
                    searched.search_value.sel(scheme=scheme)
                    / searched.gradient_norm.sel(scheme=scheme) ** 2
                ).mean()
            ),
            4,
        ),
    }
    for scheme in dataset.scheme.values
}
table(pd.DataFrame(rows).T.rename_axis("scheme"))
