# %% [markdown]
# # Reverse gradient and constant attack

# %%
import pandas as pd
from IPython.display import Markdown, display

from reports import describe, open_study, show
from studies import accuracy_reverse, pipelines
from studies.style import interval

dataset, about = open_study("accuracy_reverse")
describe(about)

# %%
show("accuracy_reverse")

# %% [markdown]
# **How to read it.** The attacks are loud: -100 times the gradient, or -100 everywhere. One such row
# ruins a mean. The lower panels multiply steps by the *modelled* time of a round at the paper's size;
# no mark means that some seed never reached the accuracy.

# %% [markdown]
# ## Test accuracy after the last step
# 95 % Student t intervals over seeds, differences paired by seed.

# %%
for attack in dataset.attack.values:
    display(Markdown(f"### {attack}"))
    reported = accuracy_reverse.REPORTED.get(str(attack), {})
    display(pipelines.final_accuracies(dataset.sel(attack=attack), reported))

# %% [markdown]
# ## Steps and modelled minutes to an accuracy
# Over the seeds that reach it; "k of n" says how many do.

# %%
for attack in dataset.attack.values:
    display(Markdown(f"### {attack}"))
    rows = {}
    for name in dataset.pipeline.values:
        row = {}
        for threshold in dataset.threshold.values:
            cell = dataset.sel(attack=attack, pipeline=name, threshold=threshold)
            reached = int(cell.steps_to.notnull().sum())
            if reached:
                minutes = float(cell.modelled_seconds_to.mean()) / 60
                text = f"{float(cell.steps_to.mean()):.0f} steps, {minutes:.1f} min"
            else:
                text = "-"
            row[f"{threshold:.0%}"] = f"{text} ({reached} of {cell.seed.size})"
        rows[str(name)] = row
    display(pd.DataFrame(rows).T)

# %% [markdown]
# ## Speed-up of DETOX in modelled time, paired by seed
# Modelled minutes alone divided by minutes with DETOX; above 1, DETOX is faster. The paper reports
# about 5 to 90 % with the median on ResNet-18.

# %%
for attack in dataset.attack.values:
    rows = {}
    for vanilla, detox in pipelines.pairs_in(dataset):
        if {vanilla, detox} <= set(map(str, dataset.pipeline.values)):
            time = dataset.modelled_seconds_to.sel(attack=attack)
            ratio = time.sel(pipeline=vanilla) / time.sel(pipeline=detox)
            rows[vanilla] = {
                f"{float(t):.0%}": interval(ratio.sel(threshold=t))
                if ratio.sel(threshold=t).notnull().any()
                else "-"
                for t in dataset.threshold.values
            }
    display(Markdown(f"### {attack}"), pd.DataFrame(rows).T)
