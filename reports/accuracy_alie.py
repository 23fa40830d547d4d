# %% [markdown]
# # Accuracy under "a little is enough"

# %%
import pandas as pd

from reports import describe, open_study, show, table
from studies import accuracy_alie, pipelines
from studies.style import interval

dataset, about = open_study("accuracy_alie")
describe(about)

# %%
show("accuracy_alie")

# %% [markdown]
# **How to read it.** The attackers send, in every coordinate, the honest mean plus one deviation: too
# little to be an outlier, enough to bias a rule that looks for the centre. A rule alone sees 5 such
# rows among 45. After the vote, a captured group is needed to let one through, and votes are means of
# three times as many images, so their spread, which the attack lives on, is smaller too.
#
# The plain mean is not hurt: five rows that are one deviation off move the mean of 45 by a ninth of a
# deviation. ALIE is aimed at rules that leave rows out, and is a warning against judging a defence
# by one attack: the page on the reverse gradient shows the same mean ruined.

# %% [markdown]
# ## Test accuracy after the last step
# 95 % Student t intervals over seeds; differences are paired by seed (same data order, initial
# parameters and Byzantine nodes). The reported values are of ResNet-18 on CIFAR-10, a far harder
# task: only the direction can be compared.

# %%
table(pipelines.final_accuracies(dataset, accuracy_alie.REPORTED))

# %% [markdown]
# ## What the vote let through

# %%
rows = {
    str(name): {
        "lost votes a step": interval(dataset.lost_votes.sel(pipeline=name).mean("step")),
        "error of the aggregate / norm of the true mean": interval(
            (dataset.gradient_error.sum("step") / dataset.gradient_norm.sum("step")).sel(
                pipeline=name
            )
        ),
    }
    for name in dataset.pipeline.values
}
table(pd.DataFrame(rows).T)

# %% [markdown]
# Without redundancy every Byzantine row is a "lost vote"; with it, the mean is the exact expectation
# of the page on filtering, within chance.
