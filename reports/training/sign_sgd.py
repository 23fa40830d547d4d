# %% [markdown]
# # signSGD under the constant attack

# %%
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_larger, table
from studies.training import comparisons, sign_sgd

dataset, about = open_study("sign_sgd")
describe(about)

# %%
show("sign_sgd")

# %% [markdown]
# **How to read it.** Workers send signs and the server takes the majority in each coordinate, so that the length of a row
# does not matter: five Byzantine workers of 45 have five votes in a coordinate, and decide only where the honest ones are
# split nearly evenly. With DETOX the gradient of a group is voted on first, then its signs are counted in three groups of
# votes, and the signs of these are counted again.

# %%
FOUND = {
    "laptop": """
In the profile `laptop` the two differ by a few points of accuracy where the paper has 34.92 % against 78.75 %,
and they differ as much when nobody attacks: a vote here holds six images and a worker alone two, so signs are
less noisy after the vote. That five Byzantine workers of 45 decide so little is likely due to the easy task: on a far
harder one about as many honest signs are positive as negative. No run here tests that.
""",
}
if not about["settings"]:
    display(Markdown(FOUND.get(about["profile"], "")))

# %% [markdown]
# ## The tables
# 95 % Student t intervals over seeds, differences paired by seed. A sign is of another size than a gradient, so of
# the aggregate only its direction is compared with the honest mean.

# %%
DIRECTION = ["votes", "distorted files a step", "cosine with the honest mean"]


def tables(dataset):
    for task in comparisons.tasks_in(dataset):
        one = dataset.sel(task=task)
        attack = comparisons.attack_in(one)
        display(Markdown(f"### {task}: test accuracy after the last step, {attack}"))
        table(comparisons.final_accuracies(one.sel(attack=attack), sign_sgd.reported(task)))
        display(Markdown(f"### {task}: the price of redundancy"))
        table(comparisons.price_table(one))
        display(Markdown(f"### {task}: the direction of the aggregate, {attack}, means over steps"))
        table(comparisons.attribution_table(one.sel(attack=attack))[DIRECTION])


tables(dataset)

# %%
show_larger("sign_sgd", about, tables, FOUND)
