# %% [markdown]
# # Robust mean of very many workers
#
# **The question.** Every worker draws one sample of a normal law with mean zero; Byzantine workers all send one vector far
# away. How far from zero is a robust mean of what arrives, with a majority vote in groups before it and without?

# %%

from reports import describe, open_study, show, show_findings, table
from detox_sim.sweeps.intervals import interval

dataset, about = open_study("mean_estimation")

# %% [markdown]
# ## What was found

# %%
show_findings("mean_estimation")

# %%
show("mean_estimation")

# %% [markdown]
# **How to read it.** Each estimator is applied to real draws of samples; dashed lines are what theory expects. "D-" is
# after the vote. "One sample a vote": a file is one sample, which all *r* workers of a group compute.
#
# **Why.** Without a vote the Byzantine workers move both medians by an amount that grows with the square root of the
# dimension, and no number of honest workers removes it. After the vote few files are distorted, and what remains is the
# noise of the honest samples. It is √r larger where a vote stands for one sample only.

# %% [markdown]
# ## Error at each dimension, with 95 % Student t intervals over seeds

# %%
frame = dataset.error.to_dataframe().reset_index()
pivot = frame.pivot_table(
    index="estimator", columns="dimension", values="error", aggfunc=interval, sort=False
)
table(pivot)

# %% [markdown]
# ## Growth with the dimension
# Error at the largest dimension over error at the smallest. Theory expects the root of the ratio of
# the two dimensions, with and without the vote, and for the mean no growth: the vote lowers the factor, not the exponent.

# %%
mean = dataset.error.mean("seed")
growth = (mean.isel(dimension=-1) / mean.isel(dimension=0)).to_series().rename("ratio").round(3)
table(growth.to_frame())

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
