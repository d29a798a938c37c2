"""What the documentation says is what happens. Pages that the build executes itself are run there, and nowhere else."""

import inspect
import pathlib
import re
import shlex

import jax
import pytest
import typer

import jaxcollapse as jc
from jaxcollapse import _cli
from tests.helpers import code_blocks, run_blocks

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
EXECUTED = {name for name, text in PAGES.items() if "file_format: mystnb" in text}
WITH_CODE = [name for name, text in PAGES.items() if code_blocks(text)]


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_page_runs_and_prints_what_it_says(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # what a reader has
        run_blocks(name, code_blocks(PAGES[name]))
    said = re.findall(r"# → (.*)", "\n".join(code_blocks(PAGES[name])))
    assert capsys.readouterr().out.splitlines() == said


def test_every_block_of_code_is_run_by_somebody():
    fences = {name: set(re.findall(r"^ *```(\S+)", text, re.M)) for name, text in PAGES.items()}
    ours = {"python", "bash", "{toctree}", "{eval-rst}", "{include}"}
    for name, found in fences.items():
        assert found <= ({"{code-cell}", "{toctree}"} if name in EXECUTED else ours), name


def test_the_custom_regime_takes_fifteen_lines():
    custom = [code for code in code_blocks(PAGES["docs/howto/regime.md"]) if "(jc.AbstractRegime)" in code]
    assert len(custom) == 1 and len([line for line in custom[0].splitlines() if line]) <= 15


def test_every_public_name_stands_in_the_reference_once():
    found = []
    for name in (page for page in PAGES if page.startswith("docs/api/")):
        module = "jaxcollapse"
        for kind, value in re.findall(
            r"^\.\. (currentmodule|auto(?:function|class|data|module)):: (\S+)", PAGES[name], re.M
        ):
            module = value if kind == "currentmodule" or value == "jaxcollapse.corpora" else module
            found += [] if kind in ("currentmodule", "automodule") else [f"{module}.{value}"]
    modules = {jc, jc.theory, jc.metrics, jc.sampling, jc.phase, jc.corpora, jc.plot, jc.report, jc.streaming}
    modules |= {jc.calibration, jc.text_metrics}
    wanted = {f"{m.__name__}.{name}" for m in modules for name in public(m)} - {"jaxcollapse.corpora.from_text"}
    assert wanted - set(found) == set(), "give it a line in docs/api"
    assert sorted(found) == sorted(set(found))


def public(module):
    """Its `__all__` without modules, or the functions that are written there."""
    names = getattr(module, "__all__", None) or [
        name
        for name, x in vars(module).items()
        if not name.startswith("_") and callable(x) and getattr(x, "__module__", "") == module.__name__
    ]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


COMMANDS = [
    line.split("  #")[0].strip()
    for text in [(ROOT / "README.md").read_text(), *PAGES.values()]
    for code in code_blocks(text, "bash")
    for line in code.replace("&&", "\n").splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_every_command_line_is_one_that_the_program_takes(line):
    words = shlex.split(line)
    if words[0] == "jaxcollapse":
        group = typer.main.get_command(_cli.app)
        command = vars(group)["commands"][words[1]]
        command.make_context(words[1], words[2:])  # parses the rest, or raises what a user would see
    for word in words:
        assert not word.startswith("experiments/") or (ROOT / word).is_file(), word
        extras = re.fullmatch(r"\.\[(\w+)\]", word)
        assert not extras or f"\n{extras[1]} = [" in (ROOT / "pyproject.toml").read_text()
