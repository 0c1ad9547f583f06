"""The site: MyST Markdown, the furo theme, tables made from the Cards."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import zellige  # noqa: E402

project = "Zellige"
author = "the Zellige authors"
copyright = "2026, the Zellige authors"
release = zellige.__version__

extensions = ["myst_parser", "systems_table"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "Zellige"
html_static_path = ["images"]
html_theme_options = {"sidebar_hide_name": False}
