# %% [markdown]
# # DETOX against DRACO

# %%
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_larger, table
from studies.training import comparisons

dataset, about = open_study("draco")
describe(about)

# %%
show("draco")

# %% [markdown]
# **How to read it.** With DRACO so many workers compute each gradient that Byzantine workers never have a majority: no file
# is distorted, and the mean of the votes is the exact gradient. It computes nine copies of every image where DETOX
# computes three; with DETOX some files are distorted, and a robust rule must withstand them. By step DRACO can only be
# ahead; the question is time. Time here is the *modelled* round at the paper's size: it follows from counts of
# operations, with DRACO's load of 288 images a worker against 96. An expensive rule after the vote, such as Bulyan,
# can take more time at the server than DETOX saves at the workers.

# %%
FOUND = {
    "laptop": """
In the profile `laptop` the paper's direction holds only in part. In modelled time D-Median and D-Multi-Krum are a
tenth faster than DRACO to 80 and 90 %, which few seeds hardly tell from nothing, and D-Bulyan needs
twice DRACO's time. To 95 % only D-Median keeps up: the robust rules use less than half of the votes. The nine copies cost
DRACO 2.2 s of a modelled round of 4.4 s, three copies 0.7 s; but Bulyan of 15 votes costs the server 4.8 s, the mean
of 5 nothing. With slower workers the copies weigh more; `detox_sim.costs.round_seconds` computes how much.
""",
}
if not about["settings"]:
    display(Markdown(FOUND.get(about["profile"], "")))

# %% [markdown]
# ## The tables
# 95 % Student t intervals over seeds, differences and ratios paired by seed; "k of n" says how many seeds reach an
# accuracy. A speed-up is modelled time of DRACO over that of DETOX, the geometric mean over seeds; its interval is wider by the steps between two evaluations.


# %%
def tables(dataset):
    for task in comparisons.tasks_in(dataset):
        one = dataset.sel(task=task)
        attack = comparisons.attack_in(one)
        attacked = one.sel(attack=attack)
        display(Markdown(f"### {task}: test accuracy after the last step, and its price"))
        table(comparisons.price_table(one))
        display(Markdown(f"### {task}: steps and modelled minutes to an accuracy, {attack}"))
        table(comparisons.times_table(attacked))
        pairs = [("DRACO", str(name)) for name in one.pipeline.values if name != "DRACO"]
        display(Markdown(f"### {task}: speed-up over DRACO in modelled time, {attack}"))
        table(comparisons.speed_up_table(attacked, pairs))
        display(Markdown(f"### {task}: what entered the aggregate, {attack}, means over steps"))
        table(comparisons.attribution_table(attacked))


tables(dataset)

# %%
show_larger("draco", about, tables, FOUND)
