"""Which code made a result."""

from __future__ import annotations

import ast
import hashlib
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions() -> dict[str, str]:
    """The versions of kmod and of the libraries that results depend on."""
    installed = {}
    for package in ("kmod", "torch", "transformers", "tokenizers"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def commit() -> str | None:
    """The commit of this code, with "+" if tracked files differ from it; None outside of a git checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]  # tags say nothing here
    try:
        return subprocess.check_output(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def code_digest(*packages: str) -> str:
    """SHA-256 over the code of packages of kmod, such as "training": comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((Path(__file__).parent / package).rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    node.body = [
                        s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
                    ]
            digest.update(f"{package}/{path.name} {ast.dump(tree)}".encode())
    return digest.hexdigest()
