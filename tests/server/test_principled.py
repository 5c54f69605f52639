"""The Principled surface: energy, reciprocity, limits, and the tables against sums over all directions."""

from __future__ import annotations

import math

import pytest
import torch

from compute_server.render import panorama, principled
from compute_server.render.principled import Material, Materials
from shared.scene import Surface

GREY = (0.5, 0.5, 0.5)


def _material(cos_eye: torch.Tensor, surface: Surface, albedo: tuple[float, float, float] = GREY) -> Material:
    materials = Materials.of((surface,), None, albedo)
    assert materials is not None
    found = materials.at(torch.zeros(len(cos_eye), dtype=torch.int64), cos_eye)
    return Material(*(getattr(found, name).double() for name in found.__dataclass_fields__))


def _eye(cos: float) -> torch.Tensor:
    return torch.tensor([math.sqrt(1 - cos * cos), 0.0, cos], dtype=torch.float64)


def _summed(surface: Surface, cos_eye: float, albedo: tuple[float, float, float] = GREY) -> tuple[float, float]:
    """``part`` and ``added`` of :func:`principled.specular` summed over all directions of light, first channel."""
    toward, solid = panorama.directions(400, torch.device("cpu"))
    toward, solid = toward.double(), solid.double()
    eye = _eye(cos_eye).expand_as(toward)
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(toward)
    material = _material(torch.full((len(toward),), cos_eye), surface, albedo)
    part, added = principled.specular(material, normal, eye, toward)
    return float((part[:, 0] * solid).sum()), float((added[:, 0] * solid).sum())


def test_matte_surfaces_need_no_material() -> None:
    assert Materials.of((Surface(), Surface(roughness=0.3)), None, GREY) is None


def test_without_a_layer_and_metal_all_light_is_diffuse() -> None:
    both = Materials.of((Surface(roughness=0.5), Surface(metallic=1.0)), None, GREY)
    assert both is not None
    material = both.at(torch.zeros(9, dtype=torch.int64), torch.linspace(0, 1, 9))
    assert torch.equal(principled.diffuse(material), torch.ones(9))
    for each in principled.ambient(material):
        assert not each.any()


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("cos_eye", [0.2, 0.5, 0.95])
def test_a_uniform_surrounding_is_the_sum_of_lights_from_everywhere(roughness: float, cos_eye: float) -> None:
    for surface in (Surface(roughness=roughness, specular=0.04), Surface(roughness=roughness, metallic=1.0)):
        part, added = principled.ambient(_material(torch.tensor([cos_eye]), surface))
        summed = _summed(surface, cos_eye)
        # The table's means are over 48 × 48 half vectors, and between 48 angles.
        assert float(part[0, 0]) == pytest.approx(summed[0], rel=0.01, abs=1e-4)
        assert float(added[0, 0]) == pytest.approx(summed[1], rel=0.01, abs=1e-4)


@pytest.mark.parametrize("roughness", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("surface", [{"specular": 0.04}, {"specular": 0.2}, {"metallic": 1.0}])
def test_white_surfaces_give_back_all_light(roughness: float, surface: dict[str, float]) -> None:
    cos = torch.linspace(0.1, 1.0, 10)
    material = _material(cos, Surface(roughness=roughness, **surface), (1.0, 1.0, 1.0))
    part, added = principled.ambient(material)
    total = principled.diffuse(material)[:, None] + part + added
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


@pytest.mark.parametrize("surface", [Surface(roughness=0.4, specular=0.08), Surface(roughness=0.5, metallic=1.0)])
def test_light_and_eye_may_change_places(surface: Surface) -> None:
    generator = torch.Generator().manual_seed(0)
    eye, light = (
        torch.nn.functional.normalize(torch.randn(100, 3, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    eye[:, 2], light[:, 2] = eye[:, 2].abs() + 0.05, light[:, 2].abs() + 0.05
    eye, light = torch.nn.functional.normalize(eye, dim=1), torch.nn.functional.normalize(light, dim=1)
    normal = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).expand(100, 3)
    values = []
    for first, second in ((eye, light), (light, eye)):
        material = _material(torch.full((100,), 0.7), surface)  # the same compensation for both
        _, added = principled.specular(material, normal, first, second)
        values.append(added[:, 0] / second[:, 2])
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-12)


def test_nothing_comes_from_below_the_horizon() -> None:
    normal = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    below = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, -0.1]], dtype=torch.float64), dim=1)
    material = _material(torch.tensor([0.5]), Surface(roughness=0.3, specular=0.04, metallic=0.5))
    for each in principled.specular(material, normal, _eye(0.5)[None], below):
        assert not each.any()


@pytest.mark.parametrize("roughness", [0.0, 0.01, 1.0])
def test_the_smoothest_and_the_most_grazing_stay_finite(roughness: float) -> None:
    cos = torch.tensor([0.0, 1e-6, 1.0])
    material = _material(cos, Surface(roughness=roughness, metallic=0.5, specular=0.04))
    normal = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).expand(3, 3)
    eye = torch.stack([_eye(float(value)) for value in cos])
    for each in (*principled.ambient(material), *principled.specular(material, normal, eye, eye)):
        assert each.isfinite().all()


def test_triangles_have_their_own_surface() -> None:
    surfaces = (Surface(roughness=0.2, metallic=1.0), Surface(roughness=0.9, specular=0.04))
    materials = Materials.of(surfaces, torch.tensor([1, 0, 1], dtype=torch.int32).numpy(), GREY)
    assert materials is not None
    found = materials.at(torch.tensor([0, 1, 2]), torch.full((3,), 0.5))
    assert found.roughness.tolist() == pytest.approx([0.9, 0.2, 0.9])
    assert found.metallic.tolist() == [0.0, 1.0, 0.0]
