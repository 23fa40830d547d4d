# %% [markdown]
# # Load and damage of redundancy schemes
#
# **The question.** Byzantine workers attack at every step, or rarely. DETOX and DRACO compute every gradient several times,
# whether or not somebody attacks. Reactive checks compare copies, ask for more only where these differ, and exclude the
# workers that they expose. With coded messages (LAD) each worker sends the mean gradient of several files. At equal damage,
# what does each scheme cost?

# %%
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_findings, show_larger, table
from studies.training import reactive_results

dataset, about = open_study("reactive")

# %% [markdown]
# ## What was found

# %%
show_findings("reactive")

# %%
show("reactive")

# %% [markdown]
# **How to read it.** *Left:* further left is cheaper, further down is safer. The load counts how often the gradient of an image
# of the batch is computed in a step, the mean over the run: 1 without redundancy, 3 with DETOX. The damage is the
# accuracy when nobody attacks less that under the attack, with the same scheme and seed. Each scheme stands at the rate of
# attack that damages it most, of those tested; without damage, at the rate with the largest load. A hollow marker is its load
# when nobody attacks. Bars are intervals over seeds.
#
# *Right:* what reactive checks compute, and for how many steps some Byzantine worker is not yet excluded. Dashes are the
# exact laws. An attacker that attacks at every step is excluded at the first check, and the load falls to 1. One that attacks
# rarely, or never, keeps the checks going: to be costly it need not do damage.
#
# **What follows.** A check at every step (chance 1) lets no forged value through, so the server may take the plain mean. A
# smaller chance computes less while attacks are rare or absent, but the steps without a check need a robust rule. That rule
# costs accuracy also when nobody attacks, and the damage does not count this (it is the price in the findings). Like every
# vote on bits, checks need honest copies that are equal bit for bit; unlike DETOX and DRACO they need the same workers to be
# Byzantine at all steps.
#
# The draws that decide which steps are checked are the same for all rates of a seed, so cells beside one another are not
# independent, and one late check shows in several. The numbers of steps and of accepted values are skewed: with five seeds an
# interval may miss the exact law. A Byzantine worker next to an excluded one is first for two files, and then forges more
# than the law of accepted values counts.

# %% [markdown]
# ## The tables
# 95 % Student t intervals over seeds, damages paired by seed; a number without an interval is the same in all seeds. "Steps
# at risk" are the steps of a run before which some Byzantine worker was not excluded.


# %%
def show_tables(dataset):
    display(Markdown("### Damage and load, each scheme at its worst rate"))
    table(reactive_results.costs_table(dataset))
    display(Markdown("### Images, bytes and modelled time of a step, at the same rate"))
    table(reactive_results.bytes_table(dataset))
    display(Markdown("### Damage by rate of attack"))
    table(reactive_results.rates_table(reactive_results.damage(dataset), 3))
    display(Markdown("### Load by rate of attack"))
    table(reactive_results.rates_table(dataset.mean_load, 2))
    display(Markdown("### Reactive checks beside the exact laws"))
    table(reactive_results.laws_table(dataset))


show_tables(dataset)

# %% [markdown]
# The modelled time is that of ResNet-18 on the paper's cluster, where the server's rule takes most of it: sorting one row a
# worker (alone, LAD, checks with a chance below 1) takes longer than computing every gradient again. Kilobytes are those of
# the small model that is trained. In groups (DETOX, DRACO) a worker has one file and sends one gradient; a worker that is
# asked for copies in a check sends each of them. Messages could be compared by digests; that is not counted here.

# %%
show_larger("reactive", about, show_tables)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
