"""The two towers: imports point down, and physics imports where only JAX is installed."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "jaxcollapse"
SURVEY = {"_sweep", "_plan", "_result", "_store", "_execute", "phase", "_boundary", "plot", "_cli", "__main__"}
SURVEY |= {"_doctor", "_experiment", "_present", "_progress", "_errors"}
SURVEY |= {"_dataset", "_program", "_remote", "_executors", "_refine", "_mesh", "_design"}
SURVEY |= {"_repair", "_status", "_export", "_concat", "_lock", "report", "_cells", "_terminal", "_picture"}
OUTSIDE_PHYSICS = {"xarray", "zarr", "typer", "rich", "matplotlib", "dask", "pandas"}


def imports(path):
    """The absolute names that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def ours(names):
    """The first part below the package of every import of our own."""
    return {name.removeprefix("jaxcollapse.").split(".")[0] for name in names if name.startswith("jaxcollapse")}


@pytest.mark.parametrize("name", [name for name in FILES if name.split("/")[0] not in SURVEY])
def test_physics_knows_nothing_of_the_survey(name):
    found = imports(FILES[name])
    assert not {n.split(".")[0] for n in found} & OUTSIDE_PHYSICS
    assert not ours(found) & SURVEY


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("theory/")])
def test_theory_imports_no_loop_and_no_family(name):
    assert ours(imports(FILES[name])) <= {"theory", "_schedule"}


@pytest.mark.parametrize("name", ["metrics", "text_metrics", "calibration"])
def test_metrics_import_nothing_of_ours(name):
    assert not ours(imports(FILES[name]))


@pytest.mark.parametrize("name", ["_sweep", "_store", "_dataset", "_program", "_remote", "phase", "plot"])
def test_the_survey_knows_nothing_of_physics(name):
    assert ours(imports(FILES[name])) <= SURVEY | {"jaxcollapse", "__version__"}


def test_matplotlib_is_imported_in_one_file():
    users = {name for name, path in FILES.items() if any(n.split(".")[0] == "matplotlib" for n in imports(path))}
    assert users == {"plot"}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)


def test_importing_the_package_is_quick_and_does_not_import_jax():
    result = run("import sys; before = set(sys.modules); import jaxcollapse; print(*sorted(set(sys.modules) - before))")
    assert result.returncode == 0, result.stderr
    assert {name.split(".")[0] for name in result.stdout.split()} <= {"jaxcollapse"} | set(sys.stdlib_module_names)


def test_physics_runs_with_the_survey_packages_absent():
    blocked = sorted(OUTSIDE_PHYSICS)
    result = run(
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "import jax, jaxcollapse as jc\n"
        "loop = jc.Loop(jc.zipf(5), jc.Tabular(), jc.Replace(), jc.Constant(0.5), jc.Constant(9))\n"
        "jc.simulate(loop, 2, key=jax.random.key(0)); jc.theory.risk(loop.alpha, loop.n, 2)\n"
        "jc.corpora.shakespeare(256)\n"
    )
    assert result.returncode == 0, result.stderr


def test_every_public_name_exists():
    import jaxcollapse as jc

    for name in jc.__all__:
        assert getattr(jc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jc.nothing
