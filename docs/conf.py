"""The documentation site; `make docs` builds it. Nothing is loaded from a network."""

from pathlib import Path

import detox_sim

vars(detox_sim).update({name: getattr(detox_sim, name) for name in detox_sim.__all__})  # loaded

project = "detox_sim"
version = release = detox_sim.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
templates_path = [str(Path(__file__).parent / "templates")]
root_doc = "docs/index"  # the source is the repository: its Markdown files link one another
include_patterns = ["docs/**", "deploy/*.md", "reports/how_to_choose.md", "[RC]*.md"]
exclude_patterns = ["docs/_build", "docs/templates", ".*", "results"]
html_theme = "furo"
html_title = f"detox_sim {release}"
html_copy_source = False
html_show_copyright = False

# The tutorial runs at every build, and a cell that raises fails it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True
nb_execution_timeout = 120
myst_heading_anchors = 3

# The reference. A name with a dot in single backticks must exist; a parameter's name has none.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"[^.]*")]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
autosummary_ignore_module_all = False
autosummary_imported_members = True
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_param = False
napoleon_use_rtype = False


def setup(app):
    """Leave fields of named tuples to their class, and find `theory.X` as `detox_sim.theory.X`."""

    def skip(app, what, name, obj, skip, options):
        return True if str(obj.__doc__).startswith("Alias for field number") else None

    def within_package(app, env, node, text):
        target = f"{project}.{node['reftarget']}"
        if node.get("refdomain") != "py" or "." not in node["reftarget"]:
            return None
        python = env.domains.python_domain
        return python.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, text)

    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", within_package)
