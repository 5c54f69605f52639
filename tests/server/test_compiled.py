"""Compiled code that is kept on disk: that it is made anew when what went into it changes, and gives the same bytes."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
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


JOBS = """
import hashlib, torch
from compute_server.bench_scene import FEATURES, bench_scene
from compute_server.optimize import optimise
from compute_server.problem import make_problem
from helpers.jobs import Recorder, small_job

for features, settings in [
    ((), {"stepper": "momentum", "octaves": 3, "smoothness": 0.1}),
    (FEATURES, {"stepper": "sign", "light": "traced", "sampling": "fixed"}),
]:
    job = small_job(scene=bench_scene(64, 2000, features), steps=2, views=4, samples=4, **settings)
    trace = optimise(make_problem(job, torch.device("cpu")), Recorder())
    print(trace.loss, hashlib.sha256(trace.theta.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_code_that_has_just_been_compiled_and_code_from_disk_give_the_same_bytes(tmp_path: Path) -> None:
    """A job that is taken up again after an update, say."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests.parent), str(tests)])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}

    def results() -> str:
        done = subprocess.run([sys.executable, "-c", JOBS], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    first = results()
    assert len(first.splitlines()) == 2
    assert results() == first


def test_rounding_is_left_to_the_compiler_only_where_sums_may_be_in_any_order() -> None:
    functions = [each for module in _modules() for each in vars(module).values() if isinstance(each, CPUDispatcher)]
    free = {(each.__module__, each.__name__) for each in functions if each.targetoptions.get("fastmath")}
    stem = "compute_server.classifiers.stem_kernels"
    assert free == {(stem, "_dot"), (stem, "_four"), ("compute_server.stepper_kernels", "_sum_sizes")}
