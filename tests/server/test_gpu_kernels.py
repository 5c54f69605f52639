"""The GPU's kernels against the torch functions that they stand for: on the GPU where there is one, else in Triton's
interpreter."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.scenes import camera, cylinder, mesh, orthographic, perspective, sphere
from torch import Tensor

from compute_server.render import gbuffer, lights
from compute_server.render.color import srgb_encode_reference
from compute_server.render.geometry import clip_from_world, eye_points, from_mesh
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.render.rasterizer import Visibility
from compute_server.render.sampling import accumulate_reference, mip_places_reference, vertex_taps
from compute_server.render.taps import MipLayout, MipTaps, Taps, Transport
from shared.scene import AreaLight, Camera, LightState, Mesh, PointLight, SpotLight, SunLight

pytest.importorskip("triton", reason="Triton is not installed: torch's CUDA builds for Linux bring it along")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
with pytest.MonkeyPatch.context() as patch:
    if DEVICE.type == "cpu":
        patch.setenv("TRITON_INTERPRET", "1")
    from compute_server.render import gpu_kernels

SIZE = 24
VIEWS = (camera((2, -3, 2)), camera((9, 9, 9), (30, 30, 30)), camera((-1.4, -1.2, 0.7), (0.2, 0, 0)))
SCENES: dict[str, tuple[Mesh, tuple[Camera, ...]]] = {
    "several views": (sphere(), VIEWS),
    "orthographic": (cylinder(20), (camera((2, -3, 2), projection=orthographic(3.0)), camera((0, -4, 1)))),
    "inside a sphere": (sphere(), (camera((0, 0, 0), (1, 1, 0.3), projection=perspective(70, near=0.01)),)),
    "nothing to be seen": (mesh([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)]), (VIEWS[1],)),
}
LAYOUTS = [MipLayout.of(64, 32), MipLayout.of(12, 20), MipLayout.of(1, 1), MipLayout.of(16, 16, mips=False)]
POWER = (3.0, 2.0, 1.0)
LAMPS = {
    "sun": SunLight(power=POWER, direction=(-0.4, 0.5, -0.8)),
    "point": PointLight(power=POWER, position=(1.5, -2.0, 1.0)),
    "spot": SpotLight(power=POWER, position=(1.5, -2.0, 1.5), direction=(-1.4, 2.0, -1.5), angle=0.6, blend=0.4),
    "far panel": AreaLight(power=POWER, position=(3, -4, 3), axis_x=(0.5, 0, 0), axis_y=(0, 0.4, 0.4), shape="ellipse"),
    "near panel": AreaLight(power=POWER, position=(1, -1.2, 0.8), axis_x=(2, 0, 0), axis_y=(0, 1, 1), shape="ellipse"),
    "narrow panel": AreaLight(
        power=POWER, position=(2, -3, 2), axis_x=(0.9, 0.6, 0), axis_y=(-0.2, 0.3, 0.6), shape="rectangle", spread=1.0
    ),
}


def _seen(name: str) -> tuple[Visibility, gbuffer.GBuffer]:
    """What a scene shows, and its surface by the torch functions; on DEVICE."""
    body, cameras = SCENES[name]
    matrices, eyes, there = clip_from_world(cameras), eye_points(cameras), from_mesh(body, DEVICE)
    found = NumbaRasterizer().rasterize(from_mesh(body), matrices, SIZE, SIZE)
    visible = Visibility(
        *(each.to(DEVICE) for each in (found.triangle, found.barycentric, found.sample)), found.view_start, SIZE, SIZE
    )
    return visible, gbuffer.GBuffer(visible, *gbuffer.interpolate_reference(there, visible, matrices, eyes))


@pytest.mark.parametrize("name", SCENES)
def test_the_surface_is_that_of_the_definition(name: str) -> None:
    visible, defined = _seen(name)
    body, cameras = SCENES[name]
    found = gpu_kernels.interpolate(from_mesh(body, DEVICE), visible, clip_from_world(cameras), eye_points(cameras))
    for ours, theirs in zip(found[:3], (defined.position, defined.normal, defined.uv), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    torch.testing.assert_close(found[3], defined.footprint, rtol=2e-3, atol=0)


@pytest.mark.parametrize("lamp", LAMPS)
def test_light_is_that_of_the_definition(lamp: str) -> None:
    """Each lamp alone in one view, with the sun in another; one view has none."""
    visible, surface = _seen("several views")
    states = [LightState(name=lamp, lights=each) for each in ((LAMPS[lamp],), (), (LAMPS["sun"], LAMPS[lamp]))]
    worlds = [(0.1, 0.2, 0.3), (0.0, 0.0, 0.0), (0.3, 0.2, 0.1)]
    found = gpu_kernels.radiance(states, surface.position, surface.normal, visible.view_start, 0.25, worlds)
    bounds = visible.view_start.tolist()
    for state, world, begin, end in zip(states, worlds, bounds[:-1], bounds[1:], strict=True):
        lit = lights.irradiance(state.lamps, surface.position[begin:end], surface.normal[begin:end])
        defined = (lit / math.pi + torch.tensor(world, device=DEVICE)) * 0.25
        torch.testing.assert_close(found[begin:end], defined, rtol=2e-5, atol=1e-7)
    assert (found > 0.2).any()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_places_are_those_of_the_definition(layout: MipLayout) -> None:
    uv, footprint = _random_uv()
    found, defined = gpu_kernels.mip_places(uv, footprint, layout), mip_places_reference(uv, footprint, layout)
    # A logarithm may differ by one unit in the last place of a level below 8.
    torch.testing.assert_close(found, defined, rtol=0, atol=1e-6)


def _random_uv(count: int = 700) -> tuple[Tensor, Tensor]:
    """UVs within and without [0, 1], and footprints of all levels."""
    generator = torch.Generator().manual_seed(3)
    uv = torch.rand(count, 2, generator=generator) * 4 - 2
    return uv.to(DEVICE), (10 ** (torch.rand(count, generator=generator) * 8 - 6)).to(DEVICE)


def _transport(taps: Taps | MipTaps, count: int) -> Transport:
    """Samples that share pixels of two pictures, one of which shows nothing else."""
    generator = torch.Generator().manual_seed(5)
    light = torch.rand(count, 3, generator=generator).to(DEVICE)
    pixel = torch.sort(torch.randint(0, 200, (count,), generator=generator, dtype=torch.int32)).values.to(DEVICE)
    base = torch.rand(2, 10, 20, 3, generator=generator).to(DEVICE)
    return Transport(taps, light, pixel, torch.tensor([0, count, count]), base)


def _operators() -> dict[str, tuple[Transport, int]]:
    uv, footprint = _random_uv()
    found = {
        str(layout): (_transport(MipTaps(mip_places_reference(uv, footprint, layout), layout), 700), layout.starts[-1])
        for layout in LAYOUTS
    }
    visible, surface = _seen("several views")
    body = SCENES["several views"][0]
    return {
        **found,
        "vertex colours": (
            _transport(vertex_taps(from_mesh(body, DEVICE), surface), len(visible.sample)),
            len(body.positions),
        ),
        "nothing": (_transport(MipTaps(torch.zeros(0, 3, device=DEVICE), LAYOUTS[0]), 0), LAYOUTS[0].starts[-1]),
    }


OPERATORS = _operators()


@pytest.mark.parametrize("name", OPERATORS)
def test_gathering_equals_its_definition(name: str) -> None:
    transport, texels = OPERATORS[name]
    base, pool = transport.base.clone(), torch.rand(texels, 3, device=DEVICE)
    exact = accumulate_reference(pool.double(), transport)
    torch.testing.assert_close(gpu_kernels.gather(pool, transport).double(), exact, rtol=2e-5, atol=0)
    assert torch.equal(transport.base, base)


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize("name", OPERATORS)
def test_scattering_is_the_gradient_of_the_definition(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_kernels, "_texel_width", lambda _: width)
    transport, texels = OPERATORS[name]
    pool = torch.rand(texels, 3, device=DEVICE, dtype=torch.float64).requires_grad_()
    grad = torch.rand(transport.base.shape, device=DEVICE)
    accumulate_reference(pool, transport).backward(grad.double())
    assert pool.grad is not None
    found = gpu_kernels.scatter(grad, transport, texels).double()
    torch.testing.assert_close(found, pool.grad, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("capability", "width"), [((8, 9), 3), ((9, 0), 4), ((12, 0), 4)])
def test_gradients_of_texels_lie_four_numbers_apart_where_memory_adds_four(
    capability: tuple[int, int], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert gpu_kernels._texel_width(torch.device("cuda")) == width
    assert gpu_kernels._texel_width(torch.device("cpu")) == 3


def _linear() -> Tensor:
    """Colours below, in and above [0, 1], with both ends and where the curve's parts meet."""
    ends = torch.tensor([0.0, 1.0, 0.0031308, 1e-6, -0.5, 2.0])
    return torch.cat([ends, torch.rand(600, generator=torch.Generator().manual_seed(7)) * 1.4 - 0.2]).to(DEVICE)


def test_encoding_equals_its_definition_and_has_its_gradient() -> None:
    linear = _linear().requires_grad_()
    defined = srgb_encode_reference(linear)
    found = gpu_kernels.encode(linear.detach())
    torch.testing.assert_close(found, defined.detach(), rtol=0, atol=1e-6)
    assert found[0] == 0
    assert found[1] == 1
    grad = torch.rand(linear.shape, device=DEVICE)
    defined.backward(grad)
    slope = gpu_kernels.encode_gradient(grad, linear.detach(), defined.detach())
    torch.testing.assert_close(slope, linear.grad, rtol=1e-5, atol=0)


def test_what_is_no_number_stays_none() -> None:
    """Absurd lamps and positions end a job; they are not painted black."""
    assert gpu_kernels.encode(torch.full((3,), torch.nan, device=DEVICE)).isnan().all()
    position, normal = torch.full((4, 3), torch.nan, device=DEVICE), torch.ones(4, 3, device=DEVICE)
    states, start = [LightState(name="lamp", lights=(LAMPS["point"],))], torch.tensor([0, 4])
    assert gpu_kernels.radiance(states, position, normal, start, 1.0, [POWER]).isnan().all()


def test_without_any_lamp_there_is_the_worlds_light() -> None:
    point = torch.ones(4, 3, device=DEVICE)
    found = gpu_kernels.radiance([LightState(name="sky")], point, point, torch.tensor([0, 4]), 0.5, [POWER])
    torch.testing.assert_close(found, torch.tensor(POWER, device=DEVICE).expand(4, 3) * 0.5)


def test_a_plane_without_samples_takes_no_light() -> None:
    empty = torch.zeros(0, 3, device=DEVICE)
    found = gpu_kernels.radiance([LightState(name="dark", lights=())], empty, empty, torch.tensor([0, 0]), 1.0, [POWER])
    assert found.shape == (0, 3)


# --- machine code, for GPUs that need not be here -------------------------------------------------------------------

#: Turing, Ampere, Hopper, and Blackwell as it is in workstations.
CAPABILITIES = ("75", "80", "90", "120")


@pytest.fixture(scope="module")
def machine_code(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """PTX of each kernel, by compute capability."""
    root = Path(__file__).parents[2]
    away = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests"), *filter(None, given)])}
    cache = {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    command = [sys.executable, "-m", "helpers.triton_ahead", *CAPABILITIES]
    done = subprocess.run(command, env=away | paths | cache, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_each_kernel_compiles_for_each_kind_of_gpu(machine_code: dict[str, dict[str, str]], capability: str) -> None:
    written = {name for name, each in vars(gpu_kernels).items() if name.startswith("_") and hasattr(each, "arg_names")}
    called = {name.split()[0] for name in machine_code[capability]}
    shared = {"_three", "_put", "_projected", "_row", "_at_least", "_less", "_tap", "_add", "_add_lit", "_lit_gradient"}
    assert called == written - shared


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_samples_are_not_exchanged_between_threads(machine_code: dict[str, dict[str, str]], capability: str) -> None:
    """All but the least distance of a view's samples is found for each alone; an exchange stops all threads."""
    waits = {
        name.split()[0]: ptx.count("bar.sync")
        for name, ptx in machine_code[capability].items()
        if " width 4" not in name
    }
    del waits["_find_nearest"]
    assert set(waits.values()) == {0}


def test_hopper_adds_a_texels_gradient_at_once(machine_code: dict[str, dict[str, str]]) -> None:
    ptx = {name: each for name, each in machine_code["90"].items() if " width 4" in name}
    assert {name.split()[0] for name in ptx} == {"_scatter", "_scatter_mips"}
    for each in ptx.values():
        assert "add.v4.f32" in each
        assert "bar.sync" not in each
