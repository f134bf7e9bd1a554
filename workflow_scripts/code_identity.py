"""The identity of code: a hash of a step and of all it imports from this package.

Snakemake does not see imported modules.  A rule that carries this hash as a parameter is run again when the code behind
it changes in substance; comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent


def _file_of(module: str) -> Path | None:
    """The file of a module of this package, or None if `module` is none."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """The abstract syntax of a file without its docstrings, as text, and what it imports from this package."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    names: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
    words: list[str] = []
    _tell(tree, words)
    return " ".join(words), frozenset(name for name in names if name.split(".")[0] == PACKAGE.name)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and all statements below it: walking expressions too takes five times as long."""
    yield node
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, block, ()):
            yield from _statements(child)


def _tell(value: Any, words: list[str]) -> None:
    """Adds a syntax tree to `words`, the same in every version of Python: versions differ in the empty fields that they know,
    which `ast.dump` writes, at twice the time."""
    if isinstance(value, ast.AST):
        words.append(type(value).__name__)
        for name in value._fields:
            field = getattr(value, name, None)
            if field is not None and field != [] and name != "ctx":  # Load or Store, which the place says
                words.append(name)
                _tell(field, words)
        words.append(")")
    elif isinstance(value, list):
        for item in value:
            _tell(item, words)
        words.append("]")
    else:
        words.append(repr(value))


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def closure(module: str) -> dict[str, Path]:
    """The modules of this package that `module` imports, directly or not, itself included: name -> file."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting.extend(_read(path)[1])
        if package := name.rpartition(".")[0]:
            waiting.append(package)
    return found


@cache
def code_hash(module: str) -> str:
    """SHA-256 (first 16 digits) of the abstract syntax of `module` and its closure.

    Raises ModuleNotFoundError if there is no such module in this package.
    """
    modules = closure(module)
    if module not in modules:
        raise ModuleNotFoundError(f"no module {module} in {PACKAGE}")
    digest = hashlib.sha256()
    for name, path in sorted(modules.items()):
        digest.update(f"{name}\n{_read(path)[0]}\n".encode())
    return digest.hexdigest()[:16]


def require_code(module: str, asked: str | None) -> None:
    """Raises SystemExit if the code of `module` is no longer what a workflow that started before asks for."""
    if asked and asked != (found := code_hash(module)):
        raise SystemExit(f"{module}: the code changed since Snakemake started ({asked}, now {found}); start it again")
