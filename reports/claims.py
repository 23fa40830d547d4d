# %% [markdown]
# # The paper's claims, one by one
#
# Each claim of the DETOX paper that we know of, beside what our datasets say. What the paper says is
# in `reports/claims.toml`, the rules that decide are short functions in `studies/evidence`; they were
# written before any result of the profile `paper` (older studies had results of the profile `laptop`),
# and CHANGELOG lists what changed since. `python -m studies.claims` prints the same verdicts.
# Reported values are quoted from memory: the tag beside each says how well (P: abstract or
# introduction; M+, M, M-: high, medium, low confidence).

# %%
from collections import Counter

import pandas as pd
from IPython.display import HTML, Markdown, display

from reports import results_folder, table
from studies.evidence import verdicts
from studies.evidence.decisions import SCALES

judged = verdicts.judged([results_folder(), *verdicts.committed()])
counted = verdicts.counts(judged)

# %% [markdown]
# Below the paper's scale its claims on ResNet-18 and on VGG13-BN are judged by the same runs:

# %%
same = Counter(each.observation for each in judged if each.verdict != "not run")
repeated = len(judged) - counted["not run"] - len(same)
display(Markdown(f"{repeated} verdicts repeat another one: the same statement on the same runs."))

# %% [markdown]
# ## What a verdict means

# %%
MEANINGS = {
    "reproduced": "the statement holds, with a 95 % interval over seeds or exactly, in a dataset that "
    "states the paper's scale",
    "same direction at toy scale": "the statement's direction holds in a smaller or modelled setting; "
    "says nothing of the paper's number",
    "not reproduced": "contradicted: the interval lies wholly on the other side; or undecided: it "
    "covers the limit, there is one seed, or a run never got there",
    "not run": "no dataset, a missing or failed part of one, a number that only the paper's scale "
    "can tell, or no study tests it",
}
rows = {word: {"claims": counted[word], "meaning": said} for word, said in MEANINGS.items()}
table(pd.DataFrame(rows).T.rename_axis("verdict"))

# %%
LEFT = "<style>table.claims td, table.claims th { text-align: left; vertical-align: top; }</style>"


def listed(found):
    """Display verdicts as a table; columns without any entry are left out."""
    rows = [{"id": each.claim.id} | each.row() for each in found]
    frame = pd.DataFrame(rows).drop(columns="verdict").set_index("id")
    frame = frame.loc[:, (frame != "").any()].rename_axis(index=None, columns="id")
    with pd.option_context("display.max_colwidth", None):
        display(HTML(LEFT + frame.to_html(classes="claims", border=0)))
    for each in found:
        if each.finding:
            display(Markdown(f"*{each.claim.id}*: {each.finding}"))


# %% [markdown]
# ## Contradicted

# %%
against = [each for each in judged if each.contradicted]
listed(against) if against else display(Markdown("None."))

# %% [markdown]
# ## All others, by verdict

# %%
for word in verdicts.VERDICTS:
    some = [each for each in judged if each.verdict == word and not each.contradicted]
    if some:
        display(Markdown(f"### {word.capitalize()}" + ": undecided" * (word == "not reproduced")))
        listed(some)

# %% [markdown]
# ## The paper's scale
#
# "Reproduced" takes a dataset whose fields say the following, with nothing else changed but the backend, how often
# accuracy is measured, the folder of the data, and labels that the claim does not ask for. Whatever
# differs is under *deviations*, also what no dataset of ours can have, such as the clock of 46
# machines.

# %%
table(
    pd.DataFrame({name: {"what it takes": s.text} for name, s in SCALES.items()}).T.rename_axis(
        "scale"
    )
)
