# %%
from IPython.display import Markdown, display

import reports
from reports import describe, open_study, show, show_findings, table
from studies.training import own

name = reports.shown
dataset, about = open_study(name)
display(Markdown(f"# {about['title']}"))

# %% [markdown]
# ## What was found

# %%
show_findings(name)

# %%
show(name)

# %%
for variable in ("accuracy", "recalibrated_accuracy"):
    if variable in dataset and "eval_step" in dataset[variable].dims:
        display(Markdown(f"## {variable.replace('_', ' ').capitalize()} after the last step"))
        display(Markdown("Means over seeds, ± half a 95 % Student t interval."))
        table(own.table(dataset, variable))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
