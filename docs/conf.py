"""Sphinx configuration: the Markdown pages as they are, and a reference of both packages, read from their source."""

project = "fer_id"
author = "the fer_id project"
html_title = project
html_theme = "furo"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**"]
extensions = ["autoapi.extension", "myst_parser", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
napoleon_numpy_docstring = False
autoapi_dirs = ["fer_id", "data_modules"]
autoapi_file_patterns = ["*.py"]
autoapi_root = "docs/api"
autoapi_options = ["members", "show-inheritance", "show-module-summary"]
autoapi_add_toctree_entry = False
suppress_warnings = [
    "autoapi.python_import_resolution",  # constants that are assigned together, as in `A, B = "a", "b"`
    "ref.python",  # an attribute's name alone, which several classes have
]
