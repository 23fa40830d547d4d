# %% [markdown]
# # Learning rates
#
# **The question.** Which learning rate, of those tried, gives each pipeline (a rule alone, or a rule after DETOX's vote)
# the lowest training loss, and is there one that serves all?

# %%
import pandas as pd
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_findings, show_larger, table
from detox_sim.sweeps.intervals import interval
from studies.training import schedules, tune

dataset, about = open_study("tune")

# %% [markdown]
# ## What was found
# The chosen rates, by attack: the lowest mean loss over seeds at the last step, of the rates at which every seed learns;
# losses with 95 % Student t intervals.

# %%
show_findings("tune")

# %%
show("tune")

# %% [markdown]
# **How to read it.** Each point is the mean over seeds, hollow where one of them ended no better than guessing: such a
# rate is too small for so few steps, or so large that training diverges, and is never chosen. The ring is the rate of the
# lowest training loss at the last step among the others. A rule that makes large errors under the attack needs a small rate,
# and then learns slowly, so one rate for all pipelines is unfair to some of them. Near the largest stable rate, however, a
# search compares chance: the mean, and DETOX followed by a mean, are the same sum when nobody attacks, and their last bits
# decide which of their seeds diverge. The grey line is the best rate at which no pipeline that learns at all ever diverged.
#
# The search of the DETOX code has one seed and no such condition; the loss of one step is noisy, and neighbouring rates are
# often as good.

# %% [markdown]
# ## Chosen rates
# The loss and the test accuracy are those of the chosen rate, after the last step, with 95 % Student t intervals over seeds. The paper's rates are the first
# of a schedule, for ResNet-18 on CIFAR-10 (reported).


# %%
def tables(dataset):
    for attack, rates in tune.chosen_rates(dataset).items():
        rows = {}
        for name in dataset.pipeline.values:
            row = {"chosen rate": "none: at every rate a seed ends no better than guessing"}
            if name in rates:
                at = dataset.sel(attack=attack, pipeline=name, rate=rates[name])
                row = {
                    "chosen rate": f"{rates[name]:g}",
                    "training loss": interval(at.final_loss),
                    "test accuracy": interval(at.accuracy.isel(eval_step=-1)),
                }
            schedule = schedules.REPORTED_SCHEDULES.get(name, {}).get((attack, "resnet18"))
            rows[name] = row | {"paper's rate (reported)": f"{schedule[0]:g}" if schedule else "-"}
        display(Markdown(f"### {attack}"))
        table(pd.DataFrame(rows).T.fillna("-").rename_axis("pipeline"))


tables(dataset)

# %%
show_larger("tune", about, tables)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
