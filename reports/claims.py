# %% [markdown]
# # The paper's claims, one by one
#
# Each claim of the DETOX paper that we know of, and what our datasets say of it. Open a line for the numbers and for what
# keeps the dataset from the paper's scale.

# %%
from html import escape

from IPython.display import HTML, Markdown, display

from reports import judged, table
from studies.evidence import verdicts
from studies.evidence.decisions import SCALES

found = judged()
counted = verdicts.counts(found)
display(Markdown(", ".join(f"{n} {word}" for word, n in counted.items() if n) + "."))

# %%
COLOURS = {
    "reproduced": "#1a7f37",
    "same direction, smaller scale": "#2f6f9f",
    "depends on the evaluation": "#8250df",
    "undecided": "#9a6700",
    "attack did not bite": "#6e7781",
    "contradicted": "#b42318",
    "not run": "#8c959f",
}


def line(each):
    """Return a claim as one line with its verdict, and what is behind it, folded."""
    badge = (
        f'<span style="background:{COLOURS[each.verdict]};color:white;border-radius:4px;'
        f'padding:1px 6px;font-size:85%">{each.verdict}</span>'
    )
    rows = {"id": each.claim.id} | each.row() | {"what we found out about it": each.finding}
    items = "".join(
        f"<li><b>{escape(name)}</b>: {escape(value)}</li>"
        for name, value in rows.items()
        if value and name not in ("claim", "verdict")
    )
    link = (
        f'<li><a href="{each.page}.html">the figure that decides it</a></li>' if each.page else ""
    )
    return f"<details><summary>{badge} {escape(each.claim.text)}</summary><ul>{items}{link}</ul></details>"


for word in verdicts.VERDICTS:
    some = [each for each in found if each.verdict == word]
    if some:
        display(Markdown(f"## {word[0].upper()}{word[1:]}"))
        display(HTML("\n".join(line(each) for each in some)))

# %% [markdown]
# ## What a verdict means
#
# * **reproduced**: it holds, with a 95 % interval over seeds or exactly, in a dataset that states the paper's scale.
# * **same direction, smaller scale**: it holds in a smaller or modelled setting; that says nothing of the paper's number.
# * **depends on the evaluation**: with the batch-norm statistics of one worker and with recalibrated ones the answers differ.
# * **undecided**: the interval covers the limit, or there are too few seeds: five for damage and defence, two for other
#   comparisons.
# * **attack did not bite**: the damage to the rule alone is not shown to be above 0.02 of accuracy, so the runs say
#   nothing about a defence.
# * **contradicted**: the interval lies wholly on the other side.
# * **not run**: no dataset of today's version, a missing part of one, a number that only the paper's scale can tell, or no
#   study tests it.
#
# Claims on accuracy are judged at equal batch, as the paper makes them; what a rule alone does at equal compute is on the
# page on ALIE. A claim that the paper makes of ResNet-18 and of VGG13-BN is counted once where the same small runs judge
# both. A claim of orders of magnitude needs a ratio of 2 at a smaller scale. What the paper says is in `reports/claims.toml`,
# quoted from memory: the tag beside each says how well (P: abstract or introduction; M+, M, M-: high, medium, low
# confidence). The rules that decide are short functions in `studies/evidence`; CHANGELOG lists what changed in them.
# `python -m studies.claims` prints the same verdicts.
#
# ## The paper's scale
#
# "Reproduced" takes a dataset whose fields say the following, with nothing else changed but the backend, how often
# accuracy is measured, the folder of the data, and labels that the claim does not ask for.

# %%
import pandas as pd

table(
    pd.DataFrame({name: {"what it takes": s.text} for name, s in SCALES.items()}).T.rename_axis(
        "scale"
    )
)
