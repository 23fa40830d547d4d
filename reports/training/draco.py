# %% [markdown]
# # DETOX against DRACO

# %%
from IPython.display import Markdown, display

from detox_sim import costs
from reports import describe, open_study, show, show_findings, show_larger, table
from studies.timing import speed_ups
from studies.training import comparisons

dataset, about = open_study("draco")

# %% [markdown]
# ## What was found

# %%
show_findings("draco")

# %%
show("draco")

# %% [markdown]
# **How to read it.** With DRACO so many workers compute each gradient that Byzantine workers never have a majority: no file
# is distorted, and the mean of the votes is the exact gradient. It computes eleven copies of every image where DETOX
# computes three; with DETOX some files are distorted, and a robust rule must withstand them. By step DRACO can only be
# ahead; the question is time. Eleven copies do not divide 45 workers, so DRACO alone has 55, of which the same 5 are Byzantine. Time here is the *modelled* round at the paper's size: it follows from counts of
# operations, with DRACO's load of 288 images a worker against 96. An expensive rule after the vote, such as Bulyan,
# can take more time at the server than DETOX saves at the workers.

# %%
one_core = speed_ups.round_seconds("D-Bulyan", costs.Cluster())
several = one_core * (1 - speed_ups.saved_by_threads("D-Bulyan"))
if "DRACO" in dataset.pipeline:
    of_draco = float(dataset.modelled_round_seconds.sel(pipeline="DRACO").mean())
    display(
        Markdown(
            f"A round of DRACO is modelled as {of_draco:.1f} s, one of D-Bulyan as {one_core:.1f} s where one core of the server "
            f"sorts and as {several:.1f} s where {speed_ups.CORES} do, as in the research code. The times shown are those of one core: "
            "that range is not in their intervals, and may decide."
        )
    )

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
show_larger("draco", about, tables)

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
