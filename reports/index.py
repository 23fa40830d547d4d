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
from reports import open_study, results_folder, table, unfinished

stored = [name for name in studies.names() if (results_folder() / f"{name}.nc").exists()]
found = {name: open_study(name) for name in stored}
counts = "; ".join(f"{name} {n} of {of} cells" for name, (n, of) in unfinished().items())
if counts:
    display(Markdown(f"**Still running or not finished when this page was made:** {counts}."))

# %% [markdown]
# ## The paper's claims

# %%
from studies.evidence import verdicts

judged = verdicts.judged([results_folder(), *verdicts.committed()])
counted = {word: count for word, count in verdicts.counts(judged).items() if count}
total = ", ".join(f"{count} {word}" for word, count in counted.items())
display(
    Markdown(
        f"The [page on claims](claims.html) has {len(judged)} claims. Those that the same runs decide in the same way "
        f"count once here: {total}."
    )
)

# %% [markdown]
# ## The studies

# %%
for name, (_, about) in found.items():
    sizes = ", ".join(f"{len(values)} × {axis}" for axis, values in about["axes"].items())
    display(Markdown(f"**[{about['title']}]({name}.html)** ({sizes}). {about['claim']}"))

absent = [name for name in studies.names() if name not in found and name not in unfinished()]
if absent:
    display(
        Markdown(
            f"Not run: {', '.join(absent)}. To run one: `python -m studies.reproduce {absent[0]} "
            "--profile laptop`."
        )
    )

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
# The table gives the scale of each study of this run; the figure at the top is of runs that come with the package, whose
# provenance the [page on ALIE](accuracy_alie.html) gives. Training on handwritten digits shows directions, not the
# paper's numbers; pages of training studies also show the larger runs that come with the package. In the
# profile `laptop` the synthetic mean and the law of distorted files are at the paper's scale. Each page
# states its seeds, definitions and provenance; the executed notebook with its code is beside each page,
# and the labelled dataset one folder up.
