# %% [markdown]
# # Robustness audit of the rules
#
# **The question.** A rule makes one gradient of *n* rows, of which *f* are Byzantine. How far from the mean of the honest
# rows can these *f* rows move its output, in units of how far the honest rows spread?

# %%
import numpy as np
import pandas as pd

from detox_sim import theory
from reports import describe, open_study, show, show_findings, table
from studies.robustness.robustness_audit_results import exact, ordered, reason, worst
from studies.robustness.worst_rows import FAMILIES, FORMATIONS

dataset, about = open_study("robustness_audit")

# %% [markdown]
# ## What was found
# Every number is the largest ratio that a search found: a lower bound on the worst case.

# %%
show_findings("robustness_audit")

# %%
show("robustness_audit")

# %% [markdown]
# **How to read it.** Each panel has its own number of rows *n*, of which *f* are Byzantine. A search that knows the honest
# rows and the rule chooses the Byzantine rows. The coloured mark is the largest squared
# distance of the output from the honest mean that it found, in squared honest spreads; small grey dots are the
# other families of honest rows. It is a **lower bound** on the rule's coefficient kappa: a mark far to the
# left says that this search failed, not that no other succeeds. The open diamond is an upper bound that is
# proven for every input: the coefficient lies between the two. A full diamond is the coefficient itself: some input
# attains the bound. Where there is no diamond no bound is known
# here. No rule can be left of the dashed line: with *f* of the honest rows apart and the Byzantine ones
# on the others, the two groups of *f* cannot be told apart.

# %% [markdown]
# ## Found and proven
# In each setting the largest ratio found, then the proven bound ("exact" where it is the coefficient) and the share of it
# that was reached. "not run" says why.


# %%
def found_and_proven(point) -> str:
    found, proven = float(point.ratio.max()), float(point.upper_bound.max())
    if np.isnan(found):
        why = reason(point)
        return f"not run: {why}" if why else "failed"
    if np.isnan(proven):
        return f"{found:.3g}"
    kind = "exact " if exact(point).item() else ""
    return f"{found:.3g} of {kind}{proven:.3g} ({found / proven:.0%})"


rules, settings = ordered(dataset), [str(name) for name in dataset.setting.values]
rows = {
    "least possible, f / (n - 2f)": {
        s: f"{float(dataset.lower_bound.sel(setting=s).max()):.3g}" for s in settings
    }
}
for rule in rules:
    rows[rule] = {s: found_and_proven(dataset.sel(rule=rule, setting=s)) for s in settings}
table(pd.DataFrame(rows).T.rename_axis(index="rule"))

above = worst(dataset) > dataset.upper_bound.max("seed") * (1 + 1e-9)
print(f"{int(above.sum())} of {int((dataset.upper_bound.max('seed') > 0).sum())} bounds exceeded")

# %% [markdown]
# ## What is known of each coefficient
# With default options *k = n - f - 2* for Krum, and as many rows are kept by Multi-Krum. What is proven has its proof in
# `theory.robustness_coefficient`. What is published is quoted from memory, for comparison. "Found by search" means that a constructed
# input attains the value, that the search meets no more, and that there is no proof that nothing is worse.

# %%
known = pd.DataFrame(theory.COEFFICIENTS)[["rule", "kind", "formula", "tag", "source"]]
table(known.rename(columns={"kind": "is", "tag": "how it is known"}).set_index("rule"))

# %% [markdown]
# ## The worst honest rows
# By family of honest rows, in the setting whose share *f / n* is largest: *one apart*, *f apart* and
# *close vote* are equal rows but for one, for *f*, and for as many as make the Byzantine rows decide the
# majority. *moved* starts from the worst three and moves their honest rows too.

# %%
hardest = settings[
    int(np.argmax([float(dataset.lower_bound.sel(setting=s).max()) for s in settings]))
]
values = dataset.ratio.sel(setting=hardest, rule=rules).max("seed").to_pandas()
print(hardest)
table(values.dropna(how="all").map("{:.3g}".format).rename_axis(index="rule", columns=None))

# %% [markdown]
# The worst family before honest rows are moved, and the Byzantine rows there: the farthest one's distance from the
# honest mean in honest spreads (arbitrary where the result does not depend on it), the dimension, and their formation
# when the refinement began.


# %%
def worst_spot(point) -> dict[str, str]:
    given = point.max("seed").sel(family=list(FAMILIES))
    spot = given.isel(family=int(np.nanargmax(given.ratio.values)))
    return {
        "family": str(spot.family.item()),
        "ratio": f"{float(spot.ratio):.3g}",
        "unrefined": f"{float(spot.unrefined):.3g}",
        "scale": f"{float(spot['scale']):.3g}",
        "d": f"{float(spot.dimension):.0f}",
        "formation": FORMATIONS[int(spot.formation)],
        "evaluations": f"{float(point.evaluations.max('seed').sum()):,.0f}",
    }


points = {rule: dataset.sel(setting=hardest, rule=rule) for rule in rules}
spots = {rule: worst_spot(point) for rule, point in points.items() if point.ratio.notnull().any()}
table(pd.DataFrame(spots).T.rename_axis(index="rule"))

# %% [markdown]
# ## Why
#
# These reasons are mathematics: they hold for every dataset.
#
# * **The trimmed mean that is told *f* is the best possible rule in this measure**: its coefficient is the least one. Its
#   worst input has *f* honest rows apart, which it cuts.
# * **The median is a trimmed mean** that cuts all but the middle. If a share *s* of the honest rows sits apart and is just
#   enough for the Byzantine rows to decide the majority, the ratio is *(1 - s) / s*, and no input is worse.
# * **Nearest-neighbour mixing** lowers the proven bound only while *8 f / (n - f) < kappa / (1 + kappa)*, so *n* must be
#   above *9 f*; that of the trimmed mean it never lowers.
# * **Rules that keep *n - f* rows** (SMEA, MDA, Phocas, DnC, and what follows NNM) have a common bad input: *f* honest
#   rows apart, and the Byzantine ones as far on the other side, so that the honest ones are left out. That gives
#   *4 f / (n - 2f)*, four times the least possible. Nothing is worse for SMEA and Phocas; for MDA other inputs are.
# * **MeaMed is NNM before the median**: on a line they are the same function for odd *n*.
# * **DnC withstands one Byzantine row and not two.** The first, very far away, takes the whole top direction and an
#   honest row is dropped with it; the second stands at a tenth of the distance, near the mean of
#   all rows, is kept, and grows with the allowed scale like a row of the plain mean. The published rule repeats
#   itself on random coordinates; here it is run once on all.
# * **A rule that trusts one row has that row's error.** If the trusted row of FLTrust is the one apart and no other row
#   points its way, the ratio is *n - f - 1*.
# * **CGE measures from the origin**: its error grows with the square of the honest mean's length over
#   the spread, which is the field `offset` here. No kappa holds for it in general. Centered clipping's value
#   is for a radius that knows the honest spread.

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
