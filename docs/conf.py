"""The site: `sphinx-build -W --keep-going -b html docs docs/_build/html`, with the extra `docs` installed.

Pages with `file_format: mystnb` are executed in the build, and an error in one of them is an error of the build.
Formulas become MathML here, so a mistake in one is found here too, and pages need no script and no network for them.
"""

import os
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import jaxcollapse

os.environ["MATPLOTLIBRC"] = str(Path(__file__).parent / "matplotlibrc")
os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # pages compile more than they compute

project, author, copyright = "jaxcollapse", "the authors of jaxcollapse", "the authors of jaxcollapse"
version = release = jaxcollapse.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "jaxcollapse"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "remove"

autodoc_typehints = "none"
autodoc_preserve_defaults = True


def as_restructured_text(app, what, name, obj, options, lines):
    """Docstrings are plain text: indented blocks are equations, `name   meaning` rows a list, the rest paragraphs."""
    blocks = re.split(r"\n(?:\s*\n)+|\n(?=Errors: )", "\n".join(lines).strip("\n"))
    lines[:] = [line for block in blocks for line in [*_block(block), ""]]


def _block(block):
    if block.startswith(" "):
        return ["::", "", *block.split("\n")]
    block = re.sub(r"^(\S+(?:, \S+)*)\n {8,}", r"\1   ", block, flags=re.M)  # a name too long for its column
    block = re.sub(r"; {4,}(?=\w+ {2,}\S)", "\n", block)  # several names in a line
    row = re.compile(r"(\w+(?:, \w+)*) {2,}(\S.*)")  # names and their meaning; not an equation and its condition
    if not row.match(block):
        return [_escape(line) for line in block.split("\n")]
    found = [(row.match(line), line.strip()) for line in block.split("\n")]
    lines = [f"{_escape(m[1])}\n    {_escape(m[2])}" if m else f"    {_escape(line)}" for m, line in found]
    return "\n".join(lines).split("\n")


def _escape(text):
    words = re.split(r"(`[^`]+`)", text)
    words = [f"`{w[1:-1].strip()}`" if w[:1] == "`" else w for w in words]  # shapes such as ` T` begin with a space
    return "".join(rf"\ `{w}`\ " if w[:1] == "`" else re.sub(r"([\\*_|`])", r"\\\1", w) for w in words)


def _math(block):
    def visit(self, node):
        self.body.append(tex2mathml(node.astext(), as_block=block))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    app.add_html_math_renderer("mathml", _math(False), _math(True))
    app.connect("autodoc-process-docstring", as_restructured_text)
