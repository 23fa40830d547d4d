# %% [markdown]
# # DETOX, rebuilt and measured
#
# *p* compute nodes share the gradient of a training step, *q* of them lie. DETOX lets groups of
# *r* nodes compute the same gradient, takes a majority vote in each group, and aggregates the
# votes with a robust rule. These pages show what our simulation of it gives beside what the paper
# (Rajput, Wang, Charles, Papailiopoulos, NeurIPS 2019) reports. Values of the paper are quoted
# from memory and are marked "reported".

# %%
import pandas as pd
from IPython.display import Markdown, display

import studies
from reports import open_study, table

found = {}
for name in studies.names():
    try:
        found[name] = open_study(name)
    except FileNotFoundError as error:
        display(Markdown(f"*{name}*: {error}"))

# %% [markdown]
# ## The paper's claims

# %%
from reports import results_folder
from studies import claims

entries, scales = claims.read()
stored = claims.find(entries, [results_folder(), *claims.committed()], named=False)
judged = claims.judge(entries, scales, stored)
total = ", ".join(f"{count} {name}" for name, count in claims.counts(judged).items())
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
# The scale of each study stands in the table. Training on handwritten digits shows directions, not the
# paper's numbers; pages of training studies also show the larger runs that come with the package, such as
# LeNet-5 on Fashion-MNIST with the paper's 45 nodes and batch, which is still below the paper's task. The
# synthetic mean and the law of lost votes are at the paper's scale in the profile `laptop`. Each page
# states its seeds, definitions and provenance; the executed notebook with its code lies beside each
# page, and the labelled dataset one folder up.
