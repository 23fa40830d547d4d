# %% [markdown]
# # Robust mean of very many nodes

# %%
from reports import describe, open_study, show, table
from studies.style import interval

dataset, about = open_study("mean_estimation")
base = about["base"]
describe(about)

# %%
print(
    f"p = {base['workers']:,} nodes, r = {base['copies']}, q = {base['byzantine']:,} Byzantine; "
    f"lost votes: mean {float(dataset.distorted_files.mean()):.2f} of {base['workers'] // base['copies']:,}"
)
show("mean_estimation")

# %% [markdown]
# **How to read it.** Without a vote the Byzantine eleventh of the nodes pulls both medians by an amount
# that grows with the square root of the dimension, as theory says (dashed), and no number of honest
# nodes removes it. After the vote a handful of bad votes is left, and the error falls to the noise of
# the honest samples. When a vote holds one sample only, that noise is √r larger, since r nodes spend
# their work on it; the bias is gone all the same.

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
# Error at the largest dimension over error at the smallest. Both medians grow like the root of the
# dimension with and without DETOX: DETOX lowers the slope, not the exponent.

# %%
mean = dataset.error.mean("seed")
growth = (mean.isel(dimension=-1) / mean.isel(dimension=0)).to_series().rename("ratio").round(3)
table(growth.to_frame())
