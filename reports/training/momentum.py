# %% [markdown]
# # Worker momentum and redundancy
#
# **The question.** A worker that sends a mean of its past gradients (worker momentum) sends less noise, and leaves less room
# to attacks that hide in the noise. It costs no computation. DETOX lets three workers compute every file and votes. Does
# memory of earlier steps replace redundancy, add to it, or neither?

# %%
from IPython.display import Markdown, display

from reports import describe, link, open_study, show, show_findings, show_larger, table
from studies.training.memory import damages, tables

dataset, about = open_study("momentum")

# %% [markdown]
# ## What was found

# %%
show_findings("momentum")

# %%
show("momentum")

# %% [markdown]
# **How to read it.** Four configurations of the same rule: momentum at the server or at the workers, and each alone (one
# worker a file) or with DETOX (three workers a file, and a vote). The upper panels show the test accuracy that an attack
# takes, and, in the last one, the price: what the configuration loses when nobody attacks, against the mean with server
# momentum. Lines are 95 % Student t intervals over seeds; differences are paired by seed. A configuration without a point was
# not run. The lower panels show the first robust rule by step.
#
# **The attacks.** Both hide among honest messages. ALIE sends their mean plus *z* deviations of each coordinate. The inner
# product attack sends their mean times a negative factor. Byzantine workers know the honest messages of the step, momenta
# where these are sent. So the deviation that ALIE uses is that of the momenta, which is smaller, and so is its shift of a mean.
# The inner product attack shifts a mean by the same share of it, whatever the noise; less noise helps a rule that leaves out
# far rows.
#
# **The words.** *Replaces*: worker momentum alone leaves at most 0.02 more damage than DETOX with server momentum, and
# saves more than 0.02. *Adds*: worker momentum and DETOX together leave less damage than each of the two, by more than 0.02. *Neither*: both
# statements are shown to be false. Each takes five seeds and an adjusted *p* below 0.05 (Holm, over the rules of an attack, so
# that a run of more rules needs a smaller *p* of each); anything else is *undecided*. Where the damage with server momentum alone is not shown to be above 0.02, the attack did not bite.
#
# **A fair rate.** With the mean, and when nobody attacks, worker momentum 0.9 at rate 1 does what server momentum 0.9 does
# at rate 0.1, since each gradient enters with weight 1 - 0.9. The study compares these two.
#
# **Centered clipping** averages the rows after each is moved to within a radius of the last aggregate, so it has a memory of
# its own. With server momentum it shows what that memory does without worker momentum.
#
# **What it does not show.** With DETOX a worker computes three times the images; worker momentum computes no more than the rule
# alone. The workers of a file must be the same at every step, or a new one would lack its momentum. The data of all workers
# are alike here: where they differ, momentum does not lower the spread between workers. Each attack has a fixed strength;
# one that is tuned against momenta may do more.

# %% [markdown]
# ## The tables
# Means with 95 % Student t intervals over seeds; *p* is adjusted, against 0.02.


# %%
def show_tables(dataset):
    damage, accuracy = damages.damages(dataset), damages.accuracies(dataset)
    said, price, spread = damages.answers(damage), damages.prices(dataset), damages.spreads(dataset)
    for q, attack in damages.cases(dataset):
        at = {"byzantine": q, "attack": attack}
        display(Markdown(f"### Damage by {attack}, q = {q}"))
        table(tables.damage_table(damage.sel(at), said.sel(at)))
        display(Markdown("What decides the word:"))
        table(tables.deciding_table(damage.sel(at), said.sel(at)))
        display(Markdown("Test accuracy under the attack:"))
        table(tables.by_rule(accuracy.sel(at)))
    for q in (int(q) for q in dataset.byzantine.values):
        display(Markdown(f"### When nobody attacks, q = {q}"))
        if "nobody" in dataset.attack.values:
            table(tables.by_rule(accuracy.sel(byzantine=q, attack="nobody")))
        display(Markdown("Price:"))
        table(tables.by_rule(price.sel(byzantine=q)))
        display(
            Markdown(
                "Spread of honest messages (root mean square distance from their mean) over the "
                "norm of their mean, mean over steps. Redundancy lowers it by larger files, worker "
                "momentum by a mean over steps:"
            )
        )
        table(tables.by_rule(spread.sel(byzantine=q).mean("eval_step")))


show_tables(dataset)

# %%
show_larger("momentum", about, show_tables)

# %%
display(Markdown(f"DETOX without worker momentum: {link('accuracy_alie', 'accuracy under ALIE')}."))

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
