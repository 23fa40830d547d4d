# %% [markdown]
# # DETOX, rebuilt and measured
#
# These pages repeat the experiments of DETOX (Rajput, Wang, Charles, Papailiopoulos, NeurIPS 2019) in simulation, and test the
# claims of that paper.
#
# ## What DETOX is
#
# *p* workers compute the gradient of a training step, and up to *q* of them are Byzantine: they send what they like. In DETOX
# groups of *r* workers compute the same part of the batch, a file. The parameter server takes a majority vote over the
# copies of each file, and aggregates the votes with a robust rule, often in vote groups first.

# %%
from reports import show_picture

show_picture()

# %% [markdown]
# ## Does it defend?
#
# Under the attack ALIE ("a little is enough") a rule alone ends less accurate than when nobody attacks: the damage.

# %%
from reports import show_main_finding

show_main_finding()

# %% [markdown]
# The bars are the damage to each rule alone, in parts: what disappears with another evaluation (batch-norm statistics
# recalibrated), what disappears when every worker of the rule alone computes as many images as with DETOX, what of the rest disappears with the vote, and what remains with DETOX. These runs come with the repository.

# %%
from IPython.display import Markdown, display

from reports import answers, link

display(Markdown(f"Tables, intervals and limits: {link('accuracy_alie', 'page on ALIE')}."))

# %% [markdown]
# ## What does it cost?

# %%
display(Markdown(answers.cost()))

# %% [markdown]
# ## What should I use?

# %%
display(Markdown(answers.advice()))

# %% [markdown]
# [Explore](explore.html) has sliders for workers, copies, speed and bandwidth: what is distorted, what fails, how long a round takes.

# %% [markdown]
# ## Do the paper's claims hold?

# %%
import studies
from reports import judged, open_study, results_folder, show_gallery, table, unfinished
from studies.evidence import verdicts

found = judged()
counted = {word: count for word, count in verdicts.counts(found).items() if count}
total = ", ".join(f"{count} {word}" for word, count in counted.items())
display(
    Markdown(
        f"The [page on claims](claims.html) has {len(found)} claims. Those that the same runs decide in the same way "
        f"count once here: {total}. What the paper reports is quoted from memory."
    )
)

# %% [markdown]
# ## The studies

# %%
there = [name for name in studies.names() if (results_folder() / f"{name}.nc").exists()]
stored = {name: open_study(name) for name in there}
counts = "; ".join(f"{name} {n} of {of} cells" for name, (n, of) in unfinished().items())
if counts:
    display(Markdown(f"**Still running or not finished when this page was made:** {counts}."))
show_gallery(stored)
absent = [name for name in studies.names() if name not in stored and name not in unfinished()]
if absent:
    display(
        Markdown(
            f"Not run here: {', '.join(absent)}. The command that made this page runs them, with their names."
        )
    )

# %% [markdown]
# ## How far to trust it

# %%
import pandas as pd

rows = [
    {
        "study": about["title"],
        "profile": about["profile"],
        "scale": about["scale"],
        "failed cells": len(about["failures"]),
        "core seconds": about["cell_seconds"],
        "commit": (about["environments"][-1]["commit"] or "none")[:10],
    }
    for _, about in stored.values()
]
if rows:
    table(pd.DataFrame(rows).set_index("study"))

# %% [markdown]
# The table gives the scale of each study of this run; the figure under "Does it defend?" is of runs that come with the repository, whose
# provenance the page on ALIE gives. Training on handwritten digits shows directions, not the
# paper's numbers; pages of training studies also show the larger runs that come with the repository. In the
# profile `laptop` the synthetic mean and the law of distorted files are at the paper's scale. Each page
# states its seeds, definitions and provenance; the executed notebook with its code and the dataset are linked on each page.
