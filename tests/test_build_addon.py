"""What `build_addon.py` packs: zips that Blender's own validator accepts, for the right Pythons, always the same bytes.

Installing them in real Blenders is the matter of `tests/matrix`.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType

import pytest

from shared.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = ("linux-x64", "windows-x64", "macos-arm64", "macos-x64")
OTHER_PYTHON = "3.14"
#: An index that nobody answers at, and no configuration that names another.
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


def pack(
    *options: str | Path, root: Path = ROOT, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """`build_addon.py` of the checkout `root` with its output, in an environment that differs by `environment`."""
    command = [sys.executable, str(root / "build_addon.py"), *map(str, options)]
    return subprocess.run(
        command, env=os.environ | environment, cwd=root, capture_output=True, text=True, check=False, timeout=300
    )


def wheels_of(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removeprefix("wheels/") for name in archive.namelist() if name.startswith("wheels/")]


def copy_checkout(source: Path, to: Path) -> Path:
    """What is packed, in another place, made in another order."""
    to.mkdir()
    shutil.copy(source / "build_addon.py", to)
    for name in ("LICENSES", "shared", "blender_addon"):
        for path in sorted(files_of(source / name), reverse=True):
            copy = to / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return to


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is packed, in a place of its own: nobody edits it while the tests run."""
    return copy_checkout(ROOT, tmp_path_factory.mktemp("packing") / "checkout")


@pytest.fixture(scope="session")
def folder(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zips for all platforms, and one for another Python, built from PyPI."""
    out = tmp_path_factory.mktemp("packed")
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "msgspec==0.22.0", "--dest", str(out)]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"wheels cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    for wheel in out.glob("*.whl"):
        wheel.unlink()
    for options in ([], ["--platform", "linux-x64", "--python", OTHER_PYTHON]):
        built = pack("--out", out, *options, root=checkout)
        assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="session")
def linux(folder: Path) -> Path:
    return folder / f"assistive_signals-{VERSION}-linux-x64.zip"


@pytest.fixture(scope="session")
def wheels(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all the wheels that the zips hold."""
    out = tmp_path_factory.mktemp("wheels")
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            for name in wheels_of(path):
                (out / name).write_bytes(archive.read(f"wheels/{name}"))
    return out


@pytest.fixture(scope="session")
def blender_ext() -> Iterator[ModuleType]:
    """Blender's own builder and validator of extensions, which needs no Blender to run."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        pytest.skip("needs Blender as a module: pip install .[headless]")
    (script,) = Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    own = importlib.util.spec_from_file_location("blender_ext", script)
    assert own is not None
    assert own.loader is not None
    module = importlib.util.module_from_spec(own)
    sys.modules["blender_ext"] = module
    own.loader.exec_module(module)
    yield module
    del sys.modules["blender_ext"]


# --- what is inside ---------------------------------------------------------------------------------------------------


def test_each_platform_and_each_other_python_has_a_zip_of_its_own(folder: Path) -> None:
    names = [f"assistive_signals-{VERSION}-{platform}.zip" for platform in PLATFORMS]
    names += [f"assistive_signals-{VERSION}-linux-x64-python{OTHER_PYTHON}.zip"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_blenders_validator_accepts_every_zip(folder: Path, blender_ext: ModuleType) -> None:
    for path in folder.glob("*.zip"):
        command = [sys.executable, str(blender_ext.__file__), "validate", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{path.name}: {done.stdout}{done.stderr}"


def test_everything_of_the_add_on_is_packed_and_nothing_else(linux: Path, checkout: Path) -> None:
    with zipfile.ZipFile(linux) as archive:
        packed = {name for name in archive.namelist() if not name.startswith(("wheels/", "LICENSES/"))}
    expected = set()
    for source, prefix in ((checkout / "blender_addon", ""), (checkout / "shared", "shared/")):
        expected |= {prefix + path.relative_to(source).as_posix() for path in files_of(source)}
    assert packed == expected


def test_presets_and_icons_are_packed_and_caches_are_not(wheels: Path, tmp_path: Path) -> None:
    checkout = copy_checkout(ROOT, tmp_path / "checkout")
    for name in ("presets/job/Quick.py", "icons/eye.png", "__pycache__/apply.cpython-311.pyc"):
        path = checkout / "blender_addon" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"#")
    assert pack("--platform", "linux-x64", "--offline", wheels, "--out", tmp_path, root=checkout).returncode == 0
    with zipfile.ZipFile(next(tmp_path.glob("*.zip"))) as archive:
        names = archive.namelist()
    assert {"presets/job/Quick.py", "icons/eye.png"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_manifest_names_the_platform_and_all_wheels(folder: Path) -> None:
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
        (platform,) = manifest["platforms"]
        assert f"-{platform}" in path.name
        assert manifest["wheels"] == [f"./wheels/{name}" for name in wheels_of(path)]


def test_manifest_and_code_have_one_version() -> None:
    manifest = tomllib.loads((ROOT / "blender_addon" / "blender_manifest.toml").read_text(encoding="utf-8"))
    assert manifest["version"] == VERSION


def test_no_packed_module_imports_what_is_only_in_a_checkout(linux: Path) -> None:
    """Imports of top-level `shared`, `blender_addon` or `compute_server` would find nothing inside Blender."""
    foreign = []
    with zipfile.ZipFile(linux) as archive:
        for name in archive.namelist():
            if name.endswith(".py") and name != "_shared.py":
                foreign += [f"{name}: {module}" for module in imported(archive.read(name).decode())]
    assert not [line for line in foreign if line.split()[1] in ("shared", "blender_addon", "compute_server")]


def imported(source: str) -> Iterator[str]:
    """The top-level packages that `source` imports absolutely."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


# --- wheels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", PLATFORMS)
def test_blender_reads_its_platform_and_both_of_its_pythons_from_the_wheels(
    folder: Path, blender_ext: ModuleType, platform: str
) -> None:
    names = wheels_of(folder / f"assistive_signals-{VERSION}-{platform}.zip")
    for package in ("msgspec", "pyzmq"):
        own = [name for name in names if name.startswith(f"{package}-")]
        assert len(own) == 2
        assert blender_ext.python_versions_from_wheels(own) == {(3, 11), (3, 13)}
    for name in names:
        assert platform in blender_ext.blender_platforms_from_wheel_platform(name.removesuffix(".whl").split("-")[-1])


def test_blender_takes_the_zip_for_another_python_for_that_one_only(folder: Path, blender_ext: ModuleType) -> None:
    names = wheels_of(folder / f"assistive_signals-{VERSION}-linux-x64-python{OTHER_PYTHON}.zip")
    assert {name.partition("-")[0] for name in names} == {"msgspec", "pyzmq"}
    assert blender_ext.python_versions_from_wheels(names) == {(3, 14)}


def test_no_zip_pairs_an_abi3_wheel_with_one_for_a_single_python(folder: Path) -> None:
    """Beside a wheel for one Python, Blender 5.2 doesn't count an abi3 wheel for the others, and may refuse the zip."""
    for path in folder.glob("*.zip"):
        for package in ("msgspec", "pyzmq"):
            kinds = {name.split("-")[-2] == "abi3" for name in wheels_of(path) if name.startswith(f"{package}-")}
            assert len(kinds) == 1, f"{path.name}: {package}"


# --- how it is built --------------------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_bytes(linux: Path, wheels: Path, checkout: Path, tmp_path: Path) -> None:
    elsewhere = copy_checkout(checkout, tmp_path / "elsewhere")
    for path in files_of(elsewhere):
        path.chmod(0o600)
        os.utime(path, (1_500_000_000, 1_500_000_000))
    before = os.umask(0o077)
    try:
        done = pack(
            *("--platform", "linux-x64", "--offline", wheels, "--out", tmp_path),
            root=elsewhere,
            environment={"LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"},
        )
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / linux.name).read_bytes() == linux.read_bytes()


def test_the_order_in_the_zip_is_not_that_of_a_disk(folder: Path) -> None:
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == sorted(archive.namelist())


def test_offline_no_index_is_asked(wheels: Path, tmp_path: Path) -> None:
    done = pack("--platform", "macos-x64", "--offline", wheels, "--out", tmp_path, environment=NO_INDEX)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 1


def test_offline_only_the_folder_counts(wheels: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    options = ("--platform", "linux-x64", "--offline", empty, "--out", tmp_path / "out")
    assert pack(*options, environment={"PIP_FIND_LINKS": str(wheels)}).returncode == 2


def test_a_missing_wheel_is_named_and_leaves_nothing_behind(wheels: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    shutil.copytree(wheels, some)
    for path in some.glob("pyzmq-*-cp313-*win_amd64.whl"):
        path.unlink()
    out = tmp_path / "out"
    done = pack("--platform", "linux-x64", "--platform", "windows-x64", "--offline", some, "--out", out)
    assert done.returncode == 2
    assert f"error: No wheel of pyzmq 26.4.0 for Python 3.13 on windows-x64 was found in {some}." in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in out.iterdir()] == [f"assistive_signals-{VERSION}-linux-x64.zip"]


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files in the POSIX way")
def test_a_zip_that_cannot_be_written_to_its_end_leaves_the_one_before(wheels: Path, tmp_path: Path) -> None:
    before = tmp_path / f"assistive_signals-{VERSION}-linux-x64.zip"
    before.write_bytes(b"the zip of yesterday")
    build = [sys.executable, str(ROOT / "build_addon.py"), "--platform", "linux-x64", "--offline", str(wheels)]
    limited = ["bash", "-c", 'ulimit -f 1500; exec "$0" "$@"', *build, "--out", str(tmp_path)]  # in KiB
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 5
    assert f"error: {tmp_path} could not be written: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [before.name]
    assert before.read_bytes() == b"the zip of yesterday"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--python", "three"), "'three' is not a version such as 3.14"),
        (("--offline", "/nowhere/at/all"), "'/nowhere/at/all' is not a folder"),
        (("--platform", "amiga"), "invalid choice: 'amiga'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    done = pack(*options, "--out", tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())
