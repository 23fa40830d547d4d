# %% [markdown]
# # DETOX, rebuilt and measured
#
# *p* workers compute the gradient of a training step, and up to *q* of them are Byzantine. In DETOX
# groups of *r* workers compute the same gradient, the parameter server takes a majority vote in each
# group, and aggregates the votes with a robust rule. These pages show the results of our simulation
# beside those that the paper (Rajput, Wang, Charles, Papailiopoulos, NeurIPS 2019) reports. Values of
# the paper are quoted from memory and are marked "reported".
#
# ## What DETOX saves under ALIE, and by which means
#
# Under the attack "a little is enough" rules alone end far less accurate than with DETOX. The bars say why: what
# disappears with another evaluation (batch-norm statistics recalibrated), what disappears when every worker of the rule
# alone computes as many images as with DETOX, what the vote adds to that, and what remains with DETOX. These runs come with
# the package; the [page on ALIE](accuracy_alie.html) has their tables, intervals and limits.

# %%
from reports import show_main_finding

show_main_finding()

# %%
import pandas as pd
from IPython.display import Markdown, display

import studies
from reports import open_study, table, unfinished

found = {}
for name in studies.names():
    try:
        found[name] = open_study(name)
    except FileNotFoundError as error:
        if name not in unfinished():
            display(Markdown(f"*{name}*: {error}"))
counts = "; ".join(f"{name} {n} of {of} cells" for name, (n, of) in unfinished().items())
if counts:
    display(Markdown(f"**Still running or not finished when this page was made:** {counts}."))

# %% [markdown]
# ## The paper's claims

# %%
from reports import results_folder
from studies.evidence import verdicts

judged = verdicts.judged([results_folder(), *verdicts.committed()])
total = ", ".join(f"{count} {name}" for name, count in verdicts.counts(judged).items())
display(Markdown(f"[{len(judged)} claims](claims.html): {total}."))

# %% [markdown]
# ## The studies

# %%
for name, (_, about) in found.items():
    sizes = ", ".join(f"{len(values)} × {axis}" for axis, values in about["axes"].items())
    display(Markdown(f"**[{about['title']}]({name}.html)** ({sizes}). {about['claim']}"))

# %% [markdown]
# ## How far to trust it

# %%
rows = [
    {
        "study": about["title"],
        "profile": about["profile"],
        "scale": about["scale"],
        "failed cells": len(about["failures"]),
        "core seconds": about["cell_seconds"],
        "commit": (about["environments"][-1]["commit"] or "none")[:10],
    }
    for dataset, about in found.values()
]
if rows:
    table(pd.DataFrame(rows).set_index("study"))

# %% [markdown]
# The table gives the scale of each study. Training on handwritten digits shows directions, not the
# paper's numbers; pages of training studies also show the larger runs that come with the package. In the
# profile `laptop` the synthetic mean and the law of distorted files are at the paper's scale. Each page
# states its seeds, definitions and provenance; the executed notebook with its code is beside each page,
# and the labelled dataset one folder up.
