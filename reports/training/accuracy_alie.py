# %% [markdown]
# # Accuracy under "a little is enough"
#
# **The question.** Under the attack ALIE the paper's rules end far less accurate alone than with DETOX. Does the vote do
# that? Three other things can: the rule may lose as much when nobody attacks; with DETOX every worker computes *r* times
# the images; and the DETOX code evaluates with the batch-norm statistics of one worker, which lag when parameters drift.

# %%
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_larger, table
from studies.training import comparisons
from studies.training.effects import dose, tables

dataset, about = open_study("accuracy_alie")

# %% [markdown]
# ## What was found

# %%
display(Markdown(tables.finding(dataset)))

# %%
show("accuracy_alie")

# %% [markdown]
# ## How to read it
#
# The attackers send, in every coordinate, the mean of the honest gradients plus one standard deviation: too little to be
# an outlier, enough to bias a rule that looks for the centre. What decides is how large the deviation is beside the norm
# of the mean; the last row shows it. Each panel of the first two rows has a rule alone, the same rule with three times the
# batch (**equal compute**: every worker computes as many images as with DETOX), and the rule with DETOX.
#
# Accuracies of a run are means over its last five evaluations, on the test images. Differences are paired by seed.
#
# * **damage**: accuracy when nobody attacks, less that under the attack. Below 0.02 the attack did not bite.
# * **price**: accuracy of the mean, less that of the rule, when nobody attacks.
# * **defence**: damage to the rule alone, less damage with DETOX; at equal batch, as the paper compares, or at equal
#   compute, as somebody compares who can spend the computation otherwise.
# * **the parts of the damage**, in an order fixed before the runs: what disappears when the batch-norm statistics are computed
#   anew from 2,048 training images (*evaluation*); of the rest, what disappears with three times the images and no vote
#   (*compute*); of the rest, what disappears with the vote (*vote*); and what is left with DETOX (*remainder*).

# %% [markdown]
# ## The tables
# Means and 95 % Student t intervals over seeds. Adjusted p values are Holm's over the rules of a table, first for the statistics
# of one worker, then recalibrated; a defence is decided only with five seeds or more, against 0.02 of accuracy. A run counts
# as collapsed when it ends below twice the accuracy of guessing; intervals of its share are Clopper and Pearson's.
#
# The last table and the last panel of the figure, where there are runs for them, have the median in other settings: other
# batches, or a smaller model. What differs is how much the gradients of honest workers spread around their mean, which is
# how far ALIE may go unseen. A setting in which DETOX ends more accurate under the attack, but the damage to the rule alone
# is small, shows a price: the rule alone loses as much when nobody attacks.


# %%
def show_tables(dataset):
    for task in comparisons.tasks_in(dataset):
        for title, frame in tables.by_title(dataset, task).items():
            display(Markdown(f"### {task}: {title}"))
            table(frame)
    doses = dose.dose_table(dataset)
    if len(doses):
        display(Markdown(f"### {dose.RULE}: other batches and models (statistics of one worker)"))
        table(doses)


show_tables(dataset)

# %% [markdown]
# ## What enters the aggregate
#
# The weights of votes are least squares: exact where the rule is a mean of some votes, and elsewhere the mean
# that comes nearest to the aggregate; a column says which share of it that leaves unexplained. Votes used,
# effectively, are one over the sum of the squared weights. Without redundancy every Byzantine row is a distorted file; with
# it, the mean number is the exact expectation of the page on filtering, within chance.

# %%
for task in comparisons.tasks_in(dataset):
    one = comparisons.equal_batch(dataset.sel(task=task))
    attack = comparisons.attack_in(one)
    display(Markdown(f"### {task}: {attack}, equal batch, means over steps"))
    table(comparisons.attribution_table(one.sel(attack=attack)))

# %%
show_larger("accuracy_alie", about, show_tables, tables.finding)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
