# %% [markdown]
# # signSGD under the constant attack
#
# **The question.** Workers send signs, and the server takes the majority in each coordinate (signSGD). The attackers send a
# constant. How much accuracy does that take, alone and with DETOX?

# %%
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_findings, show_larger, table
from studies.training import comparisons, sign_sgd
from studies.training.effects import tables

dataset, about = open_study("sign_sgd")

# %% [markdown]
# ## What was found

# %%
show_findings("sign_sgd")

# %%
show("sign_sgd")

# %% [markdown]
# **How to read it.** Workers send signs and the server takes the majority in each coordinate, so that the length of a row
# does not matter: five Byzantine workers of 45 have five votes in a coordinate, and decide only where the honest ones are
# split nearly evenly. With DETOX the gradient of a group is voted on first, then its signs are counted in three groups of
# votes, and the signs of these are counted again.

# %% [markdown]
# ## The tables
# 95 % Student t intervals over seeds, differences paired by seed. A sign is of another size than a gradient, so of
# the aggregate only its direction is compared with the honest mean.

# %%
DIRECTION = ["votes", "distorted files a step", "cosine with the honest mean"]


def show_tables(dataset):
    for task in comparisons.tasks_in(dataset):
        one = comparisons.equal_batch(dataset.sel(task=task))
        attack = comparisons.attack_in(one)
        for title, frame in tables.by_title(dataset, task).items():
            display(Markdown(f"### {task}: {title}"))
            table(frame)
        display(Markdown(f"### {task}: test accuracy after the last step, {attack}"))
        table(comparisons.final_accuracies(one.sel(attack=attack), sign_sgd.reported(task)))
        display(Markdown(f"### {task}: the price of redundancy"))
        table(comparisons.price_table(one))
        display(Markdown(f"### {task}: the direction of the aggregate, {attack}, means over steps"))
        table(comparisons.attribution_table(one.sel(attack=attack))[DIRECTION])


show_tables(dataset)

# %%
show_larger("sign_sgd", about, show_tables)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
