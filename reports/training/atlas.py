# %% [markdown]
# # Atlas: schemes, rules and attacks
#
# **The question.** Which redundancy scheme, with which rule, is most accurate under the attack that is worst for it? And
# does redundancy do more than computing more images?

# %%
import json

from IPython.display import Markdown, display

from reports import describe, open_study, show, show_drawn, show_findings, show_larger, table
from reports.tables import sortable
from studies.training.atlas import STUDY
from studies.training.worst_case import tables
from studies.training.worst_case.figure import heat_maps

dataset, about = open_study("atlas")

# %% [markdown]
# ## What was found

# %%
show_findings("atlas")

# %%
show("atlas")

# %% [markdown]
# **How to read it.** Left: the test accuracy of each pair of a scheme (columns) and a rule (rows) under the attack that is
# worst for it, of those tried. Right: the same against what a round costs. The line joins the pairs that no cheaper pair
# beats; they are named. The least accurate tenth of the pairs is drawn on the dotted line, so that the others lie apart.
#
# **How a pair is measured.** One setting (rate, momentum at the server or at the workers) is chosen for all attacks, on
# validation images and on seeds that are used for nothing else. The worst attack is chosen there too. Then the pair is trained
# anew on five other seeds, and the test images are used once. The minimum over several noisy means is too low. An estimate on
# fresh seeds is not; but it is too high where the tuning seeds chose an attack that is not the worst. The table has both.
#
# **At equal compute.** With *r* copies a worker computes *r* times the images. "none, 3 x images" and "none, 5 x images"
# compute as many without redundancy: the rule gets gradients of more images, and there is no vote.
#
# **What it does not show.** One model, one data set, one size. A stronger attack may exist. Time is modelled.

# %% [markdown]
# ## All pairs, ranked
# Sort by a column with a click on its head; filter by words, or by the lists above the table. Values are means over seeds
# with 95 % Student t intervals; that of the plain minimum is a bootstrap over the seeds. The rank is one more than the number
# of pairs whose interval lies wholly above. *fails*: the chance that in a step more rows are distorted than the rule
# withstands, under a random placement.


# %%
def show_tables(dataset):
    profile = json.loads(dataset.attrs["provenance"])["profile"]
    for case in (str(name) for name in dataset.case.values):
        display(Markdown(f"### {case}: all pairs"))
        shown, numbers = tables.ranked(dataset, case)
        sortable(shown, numbers, choices=tables.CHOICES)
        display(
            Markdown(
                "By attack: mean test accuracy and half of its interval, in hundredths. The frame "
                "is around the attack that was worst on the tuning seeds; the last column is the "
                "worst case, estimated on fresh ones."
            )
        )
        show_drawn(
            lambda one, case=case: heat_maps(one, case), dataset, f"accuracy by attack, {case}"
        )
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
