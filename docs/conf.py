"""The documentation site: `make docs` builds it into docs/_build/html, without the network and without a warning."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE / "teaching"), str(ROOT)]
# Code on the pages runs this checkout, by the commands of this environment, on one thread as small problems want it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(HERE / "teaching"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Figures with sliders come with the script that draws them.
os.environ["PLOTLY_RENDERER"] = "notebook"
os.environ["IPYTHONDIR"] = str(HERE / "_extensions" / "ipython")
os.environ["BASH_ENV"] = str(HERE / "_extensions" / "shell.sh")

project = "ulpm"
author = "The ulpm developers"
copyright = "The ulpm developers, MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "executed_blocks",
    "lesson_kit",
    "mathml",
    "docstring_mathematics",
    "references",
    "results_here",
]
# The source folder is the whole checkout, so that links between pages and committed results are what they are in it.
root_doc = "docs/index"
include_patterns = ["docs/*.md", "docs/teaching/*.md", "docs/gallery/*.md", "*_experiments/results/**.md"]
exclude_patterns = [".*", "runs", "ulpm", "tests", "build", "dist", "docs/_*", "docs/teaching/slides.md"]
nitpicky = True
# The documentation of other libraries is elsewhere, and this site is built without the network.
# Types of the core that are not public are named in signatures, but have no place on the site.
nitpick_ignore_regex = [("py:.*", r"(?!ulpm\.).*"), ("py:class", r"ulpm\.\w+\.[\w.]+")]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"

napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # they are in the signature
# A default shows as it is written, shard=ALONE, and a long signature has a line for each parameter.
autodoc_preserve_defaults = True
autodoc_typehints = "both"
autodoc_typehints_description_target = "documented"
maximum_signature_line_length = 90
python_display_short_literal_types = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = "ulpm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# What is copied is what is typed: no prompts, no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div.cell_input pre, div.doctest pre, div.highlight-text pre, div.highlight-bash pre"
html_show_sphinx = False
html_copy_source = False
pygments_style = "a11y-high-contrast-light"

# The demo lies beside the pages. It is made again when the package has changed.
DEMO = HERE / "_build" / "beside" / "demo.html"
DEMO.parent.mkdir(parents=True, exist_ok=True)
(DEMO.parent / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/index.html">\n')
html_extra_path = [str(DEMO.parent)]


def make_demo(app):
    newest = max(file.stat().st_mtime for file in (ROOT / "ulpm").rglob("*") if file.suffix != ".pyc")
    if not DEMO.exists() or DEMO.stat().st_mtime < newest:
        subprocess.run([sys.executable, "-m", "ulpm", "demo", "--out", str(DEMO)], check=True, cwd=ROOT)


def setup(app):
    app.connect("builder-inited", make_demo)
