# %% [markdown]
# # Atlas: schemes, rules and attacks
#
# **The question.** Which redundancy scheme, with which rule, is most accurate under the worst attack that was found? And does
# redundancy do more than computing more images?

# %%
import json

from IPython.display import HTML, Markdown, display

from reports import describe, open_study, show, show_findings, show_larger, table
from reports.tables import sortable
from studies.training.atlas import STUDY
from studies.training.worst_case import tables
from studies.training.worst_case.comparisons import ran

dataset, about = open_study("atlas")

# %% [markdown]
# ## What was found

# %%
show_findings("atlas")

# %%
show("atlas")

# %% [markdown]
# **How to read it.** Left: the test accuracy of each pair of a scheme (columns) and a rule (rows) under the attack that was
# worst for it on the tuning seeds (two in the profile `atlas`, one in `laptop`). A dash: the condition of the rule forbids the pair; blank: not part of the grid. Middle: the same against the modelled seconds of a
# round. Right: against the load. In both, the line joins the pairs that no cheaper pair
# beats, by their means; their rules are named. The least accurate tenth of the pairs is drawn on the dotted line, so that the others lie apart.
#
# **How a pair is measured.** One setting (rate, momentum at the server or at the workers; in the profile `laptop` the
# place of the momentum alone) is chosen for all attacks, on
# validation images and on seeds that are used for nothing else. The worst attack is chosen there too. Then the pair is trained
# anew on five other seeds, and the test images are used once. The minimum over several noisy means is too low. An estimate on
# fresh seeds is not; but it is too high where the two tuning seeds chose an attack that is not the worst. The table has both,
# and a third value, added after the first results: *cross-fitted*, for each fresh seed the accuracy under the attack that was
# worst on the other four. With five seeds and many rules, Holm's method decides only large differences.
#
# **At equal compute.** With *r* copies a worker computes *r* times the images. "no redundancy, 3 x images" and
# "no redundancy, 5 x images" compute as many without copies: the rule gets gradients of more images, and there is no vote.
#
# **What it does not show.** One model, one data set, one size. A stronger attack may exist. Time is modelled.

# %% [markdown]
# ## All pairs, ranked
# A *case* changes one thing: the number *q* of Byzantine workers, images that differ between workers (Dirichlet 0.3), or momentum
# at the server alone or at the workers alone.
#
# Sort by a column with a click on its head; filter by words, or by the lists above the table. Values are means over seeds
# with 95 % Student t intervals; that of the plain minimum is a bootstrap over the seeds, which reaches too low. *price*: how much less accurate the pair is when nobody attacks than
# the rule that is then the most accurate with no redundancy (on the other pages: than the mean). *load*: images computed, over
# the common batch. *MB* and *seconds*: what a worker sends and what a round takes on the paper's cluster, modelled. *fails*:
# the chance that in a step more rows are distorted than the rule withstands, under a random placement. *than the first*:
# whether the pair is shown to be less accurate than that of rank 1.


# %%
def show_tables(dataset):
    profile = json.loads(dataset.attrs["provenance"])["profile"]
    for case in (str(name) for name in dataset.case.values):
        display(Markdown(f"### {case}: all pairs"))
        shown, numbers = tables.ranked(dataset, case)
        sortable(shown, numbers, choices=tables.CHOICES)
        display(
            Markdown(
                "By attack: mean test accuracy and half of its interval, in hundredths; yellow is "
                "high. The frame is around the attack that was worst on the tuning seeds; the last "
                "column is the worst case, estimated on fresh ones."
            )
        )
        for scheme in (str(name) for name in ran(dataset, case).scheme.values):
            content = tables.by_attack(dataset, case, scheme)
            display(HTML(f'<div class="table heat">{content}</div>'))
        display(
            Markdown(
                "By how much a rule is less accurate in the worst case than the best one behind the "
                "same scheme. A star: decided, after Holm's method over the rules. The best one was "
                "chosen on the same seeds, which favours it."
            )
        )
        table(tables.behind_table(dataset, case))
    refused = tables.refused(STUDY.grids(profile), dataset)
    if len(refused):
        display(Markdown("### Pairs that the condition of a rule forbids"))
        table(refused)
    for title, frame in tables.differences(dataset).items():
        display(Markdown(f"### {title}"))
        table(frame)


show_tables(dataset)

# %% [markdown]
# Differences of worst cases are paired by seed; *p* is adjusted by Holm's method over the rules of a column, against no
# difference. *above*: the first of the two is more accurate; *below*: the second.

# %%
show_larger("atlas", about, show_tables)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
