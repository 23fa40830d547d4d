# %% [markdown]
# <!-- The text is how_to_choose.md. -->

# %%
from pathlib import Path

from IPython.display import Markdown, display

import reports

display(Markdown((Path(reports.__file__).parent / "how_to_choose.md").read_text()))
