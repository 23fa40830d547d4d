# %% [markdown]
# # Explore: workers, copies, time
#
# Choose a number of workers, copies and a rule: the page shows how many files are distorted, whether the rules withstand
# them, and how long a round takes. The address of this page holds the setting, so that you can keep or send it.

# %%
from IPython.display import HTML, display

from reports import explorer

display(
    HTML(
        "<noscript><p><strong>This browser runs no JavaScript:</strong> the sliders change nothing, and no result "
        "is shown. <code>theory.distorted_files</code>, <code>theory.condition_violated</code> and "
        "<code>costs.round_seconds</code> give the same numbers in Python.</p></noscript>"
    )
)
display(HTML(explorer.controls()))
display(HTML(explorer.results()))

# %% [markdown]
# ## What the numbers are
#
# * **Distorted files.** *r* workers compute each file, and a file is distorted when more than half of them are Byzantine. Where
#   Byzantine workers are placed at random the chances are exact (`theory.distorted_files`). Where they are placed to distort
#   most files, they distort floor(*q* / ((*r* + 1) / 2)).
# * **Fails.** More files are distorted than the rules withstand by their conditions (`theory.condition_violated`; the
#   conditions are in [How to choose](how_to_choose.html)); the column is the chance of it where so many files are distorted. What an attack then does to the training is another question, and
#   one that the studies of training answer.
# * **Seconds** are modelled (`costs.round_seconds`), not measured: ResNet-18 on images of 32 x 32 pixels, 32 images a worker and
#   round without redundancy; with *r* copies *r* times as many a worker, for the same batch. Communication counts the
#   messages into and out of one server, at the bandwidth above. The two servers differ in the speed of their code only.

# %%
import pandas as pd

from detox_sim import costs
from reports import table
from studies.timing.speed_ups import KERNELS

columns = {f"{one.name} ({one.unit})": one for one in costs.constants() if one.value}
rows = {
    name: {KERNELS["code"]: f"{one.value:g}", KERNELS["ours"]: f"{one.kernels:g}", "source": one.source.replace("`", ""), "doubt": one.doubt}
    for name, one in columns.items()
}  # fmt: skip
table(pd.DataFrame(rows).T.rename_axis("constant"))

# %%
from IPython.display import Markdown

display(
    Markdown(
        "Two sliders replace `worker_flops` and `bandwidth`. The source is that of the DETOX code's constants; those of our "
        "kernels are fitted to measurements on one thread of a shared 2-core computer (`costs.constants`)."
    )
)
