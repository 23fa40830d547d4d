# %%
from IPython.display import Markdown, display

import reports
from reports import describe, open_study, show, show_findings, table
from studies import load
from studies.training import own

name = reports.shown
dataset, about = open_study(name)
display(Markdown(f"# {about['title']}"))

# %% [markdown]
# ## What was found

# %%
if load(name).finding is not None:
    show_findings(name)

# %%
show(name)

# %% [markdown]
# Means over seeds; bars are 95 % Student t intervals.
#
# ## After the last step
# Means ± half a 95 % Student t interval over seeds.

# %%
for variable in ("accuracy", "recalibrated_accuracy"):
    if variable in dataset:
        table(own.table(dataset, variable))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
