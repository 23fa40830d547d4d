# %% [markdown]
# # Atlas: schemes, rules and attacks
#
# **The question.** Which redundancy scheme, with which rule, is most accurate under the attack that is worst for it? And
# does redundancy do more than computing more images?

# %%
from reports import describe, open_study, show, show_findings

dataset, about = open_study("atlas")

# %% [markdown]
# ## What was found

# %%
show_findings("atlas")

# %%
show("atlas")

# %% [markdown]
# **How to read it.** Left: the test accuracy of each pair of a scheme (columns) and a rule (rows) under the attack that is
# worst for it, of those tried. Right: the same against what a round costs. The line joins the pairs that no cheaper pair
# beats; they are named.
#
# **How a pair is measured.** One setting (rate, momentum at the server or at the workers) is chosen for all attacks, on
# validation images and on seeds that are used for nothing else. The worst attack is chosen there too. Then the pair is trained
# anew on five other seeds, and the test images are used once. The minimum over several noisy estimates is too low; an estimate
# on fresh seeds is not. The plain minimum stands beside it in the table.
#
# **At equal compute.** With *r* copies a worker computes *r* times the images. "none, 3 x images" and "none, 5 x images"
# compute as many without redundancy: the rule gets gradients of more images, and there is no vote.
#
# **What it does not show.** One model, one data set, one size. A stronger attack may exist. Time is modelled.

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
