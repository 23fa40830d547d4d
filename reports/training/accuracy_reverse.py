# %% [markdown]
# # Reverse-gradient attack
#
# **The question.** Byzantine workers send -100 times their gradient. How much accuracy does that take from a rule alone and
# with DETOX, and how much modelled time does each need to an accuracy?

# %%
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_findings, show_larger, table
from studies.training import comparisons
from studies.training.effects import tables

dataset, about = open_study("accuracy_reverse")

# %% [markdown]
# ## What was found

# %%
show_findings("accuracy_reverse")

# %%
show("accuracy_reverse")

# %% [markdown]
# **How to read it.** Byzantine workers send -100 times their gradient. One such row decides a mean. The second row
# multiplies steps by the *modelled* time of a round at the paper's size. The bars are modelled time alone over
# modelled time with DETOX until an accuracy is reached, paired by seed: above 1, DETOX is faster. Where some
# seed never gets there the bar is missing, and how many do is written in its place. The last panel is the
# price of robustness: what a defence costs when nobody attacks.

# %% [markdown]
# ## The tables
# 95 % Student t intervals over seeds, differences and ratios paired by seed. Steps and modelled minutes to an
# accuracy are means over the seeds that reach it, speed-ups geometric means, whose intervals are wider by the steps between two evaluations; "k of n" says how many do. For the speed-up the paper reports
# about 5 to 90 % with the median on ResNet-18, and up to about 10 on VGG13-BN. Means over steps leave out those at
# which a diverged run has overflowed.


# %%
def show_tables(dataset):
    for task in comparisons.tasks_in(dataset):
        one = comparisons.equal_batch(dataset.sel(task=task))
        attack = comparisons.attack_in(one)
        attacked = one.sel(attack=attack)
        for title, frame in tables.by_title(dataset, task).items():
            display(Markdown(f"### {task}: {title}"))
            table(frame)
        display(Markdown(f"### {task}: test accuracy after the last step, and its price"))
        table(comparisons.price_table(one))
        display(Markdown(f"### {task}: steps and modelled minutes to an accuracy, {attack}"))
        table(comparisons.times_table(attacked))
        display(Markdown(f"### {task}: speed-up of DETOX in modelled time, {attack}"))
        table(comparisons.speed_up_table(attacked, comparisons.pairs_in(one)))
        display(Markdown(f"### {task}: what entered the aggregate, {attack}, means over steps"))
        table(comparisons.attribution_table(attacked))


show_tables(dataset)

# %%
show_larger("accuracy_reverse", about, show_tables)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
