"""Compiled code that is kept on disk: that it is made anew when what went into it changes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numba as nb
import numpy as np
import pytest
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher

import compute_server
from compute_server.render import compiled


def _modules() -> Iterator[ModuleType]:
    """The modules that have compiled functions of their own."""
    for found in pkgutil.walk_packages(compute_server.__path__, "compute_server."):
        source = Path(found.module_finder.path, found.name.rpartition(".")[2] + ".py")  # type: ignore[union-attr]
        if source.exists() and "njit" in source.read_text(encoding="utf-8"):
            yield importlib.import_module(found.name)


def _taken_from_elsewhere(module: ModuleType) -> Iterator[tuple[str, str]]:
    """What a module's compiled functions take from other modules of ours: its name, and the file it is from."""
    own = [each for each in vars(module).values() if isinstance(each, CPUDispatcher)]
    used = {name for each in own if each.__module__ == module.__name__ for name in each.py_func.__code__.co_names}
    for name in used & set(vars(module)):
        value = getattr(module, name)
        if isinstance(value, CPUDispatcher | _Intrinsic) and value.__module__ != module.__name__:
            yield name, value.__module__.rpartition(".")[2] + ".py"
        elif isinstance(value, int | float | tuple | np.generic) and f"{name} = " not in _source(module):
            yield name, _importer(module, name)


def _source(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text(encoding="utf-8")


def _importer(module: ModuleType, name: str) -> str:
    """The file that `module` imports `name` from; "" if it makes it itself, as several at once."""
    for line in _source(module).splitlines():
        if line.startswith("from .") and name in line.partition(" import ")[2].replace(",", " ").split():
            return line.split()[1].rpartition(".")[2] + ".py"
    return ""


def test_all_that_goes_into_compiled_code_from_other_files_is_looked_at() -> None:
    found = {(module.__name__, *each) for module in _modules() for each in _taken_from_elsewhere(module)}
    assert ("compute_server.render.pool_kernels", "decoded", "color_kernels.py") in found
    assert ("compute_server.render.gradient_pools", "fma", "vectors.py") in found
    assert ("compute_server.render.view_kernels", "BLOCK", "compiled.py") in found
    assert {file for _, _, file in found if file} == set(compiled.SHARED)


def test_another_text_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    folders = []
    for text in ("a = 1", "a = 2", "a = 1"):
        (tmp_path / "compiled.py").write_text(text)
        monkeypatch.setattr(nb.config, "CACHE_DIR", str(tmp_path / "kept"))
        compiled._keep_by(("compiled.py",))
        folders.append(Path(nb.config.CACHE_DIR))
    assert folders[0] == folders[2] != folders[1]
    assert folders[0].parent == tmp_path / "kept"
