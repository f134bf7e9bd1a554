"""The identity of code changes with its substance, and only with that."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts import code_identity

STATEMENTS = [
    *(
        "x = 1",
        "x = '1'",
        "x = None",
        "x = [1]",
        "x = [[1]]",
        "x = 1, 2",
        "x = y = 1",
        "x += 1",
        "x: int",
        "x: int = 1",
        "del x",
    ),
    *("f()", "f(x)", "f(*x)", "f(**x)", "f(x=x)", "x.f", "x[f]", "{**x}", "{None: x}", "{x}", "return", "return None"),
    *("if x: f()\nelse: f(x)", "if x:\n f()\n f(x)", "for x in f: pass", "async def g(): pass", "def g(): pass"),
    *(
        "def g(x=None): pass",
        "def g(*, x=None): pass",
        "def g(*, x): pass",
        "lambda: None",
        "f'{x}'",
        "f'{x!r}'",
        "global x",
    ),
]


def told(source):
    words = []
    code_identity._tell(ast.parse(source), words)
    return words


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a chain of imports: step -> helper -> base; other stands apart."""
    root = tmp_path / "demo"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "base.py").write_text("LIMIT = 3\n")
    (root / "helper.py").write_text(
        '"""Text."""\nfrom demo.base import LIMIT\n\n\ndef f(x):\n    """Text."""\n    return x + LIMIT\n'
    )
    (root / "step.py").write_text("import numpy\nfrom demo import helper\n\n\ndef main():\n    return helper.f(1)\n")
    (root / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(code_identity, "PACKAGE", root)
    monkeypatch.setattr(code_identity, "ROOT", tmp_path)
    return root


@pytest.fixture
def hashed(package):
    def hashed(module="demo.step"):
        code_identity.code_hash.cache_clear()
        code_identity._read.cache_clear()
        return code_identity.code_hash(module)

    yield hashed
    code_identity.code_hash.cache_clear()
    code_identity._read.cache_clear()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("helper.py", '"""Text."""', '"""Another text."""'),
        ("helper.py", "    return x + LIMIT", "    # why\n    return (x + LIMIT)"),
        ("base.py", "LIMIT = 3", "\n\nLIMIT    = 3   # three"),
        ("other.py", "x = 1", "x = 2"),
    ],
)
def test_comments_docstrings_layout_and_strangers_do_not_count(package, hashed, file, old, new):
    before = hashed()
    edit(package / file, old, new)
    assert hashed() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("step.py", "f(1)", "f(2)"),
        ("helper.py", "x + LIMIT", "x - LIMIT"),
        ("base.py", "3", "4"),
        ("__init__.py", "", "import os\n"),
    ],
)
def test_a_change_anywhere_in_the_closure_counts(package, hashed, file, old, new):
    before = hashed()
    edit(package / file, old, new)
    assert hashed() != before


def test_a_version_of_python_that_knows_more_fields_does_not_count(package, hashed, monkeypatch):
    """A step may run in the environment of its rule, under another Python than Snakemake's: 3.12 adds `type_params`."""
    before = hashed()
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "of_a_later_python"))
    monkeypatch.setattr(ast.FunctionDef, "of_a_later_python", [], raising=False)
    assert hashed() == before


@given(
    st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4),
    st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4),
)
def test_other_code_is_told_otherwise(one, other):
    assert (told("\n".join(one)) == told("\n".join(other))) == (one == other)


def test_a_file_beside_the_folder_of_the_project_does_not_count(package, hashed):
    """The package of a package without a dot was the folder itself, and `transfer.py` beside a clone in `transfer/` its module."""
    before = hashed()
    package.parent.with_suffix(".py").write_text("x = 1\n")
    (package.parent / "__init__.py").write_text("x = 1\n")
    assert hashed() == before


def test_a_module_that_is_not_there_is_an_error(hashed):
    with pytest.raises(ModuleNotFoundError, match="demo.absent"):
        hashed("demo.absent")


def test_what_decides_a_runs_numbers_is_small_and_ends_at_its_stage():
    """A change of the laws, the figures, the store or the configuration must not train anything again."""
    stages = {name.split(".")[1] for name in code_identity.closure("workflow_scripts.training.cell") if "." in name}
    assert stages == {"training", "files"}


def test_no_stage_imports_a_later_one():
    order = ["corpora", "tokens", "training", "laws", "figures"]
    for path in code_identity.PACKAGE.glob("*/*.py"):
        stage = path.parent.name
        imported = code_identity._read(path)[1]
        later = order[order.index(stage) + 1 :]
        assert not {name for name in imported if any(name.startswith(f"workflow_scripts.{one}") for one in later)}, path
