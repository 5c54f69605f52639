# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads how an object's materials reflect light besides their colour, and says what of that is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._shared import scene
from .mesh import values
from .texture import image_pixels, link_into, original_material, shader_of
from .versions import node_tree

MATTE = scene.Surface()
LEAST = 1e-3
"""Weights below this show in no picture."""

#: What of Principled is left out where its weight is above 0, by input, and how it is called.
LEFT_OUT = {
    "Transmission Weight": "lets light through",
    "Subsurface Weight": "scatters light below its surface",
    "Coat Weight": "has a coat",
    "Sheen Weight": "has a sheen",
    "Emission Strength": "gives off light",
    "Anisotropic": "reflects differently along its grain",
    "Diffuse Roughness": "has a rough diffuse base",
    "Thin Film Thickness": "has a thin film",
}
#: Shaders whose reflection is known, besides Principled: what they are read as.
PLAIN = ("ShaderNodeBsdfDiffuse",)
GLOSSY = ("ShaderNodeBsdfGlossy", "ShaderNodeBsdfAnisotropic")


@dataclass(frozen=True)
class Surfaces:
    """The surfaces of a mesh as :class:`shared.scene.Mesh` has them (``which [T] int32`` by triangle), and sentences on
    what is left out."""

    all: tuple[scene.Surface, ...]
    which: np.ndarray
    left_out: tuple[str, ...]


def read_surfaces(obj: Any, mesh: Any) -> Surfaces:
    """The surfaces of an evaluated `obj`, triangles as in :func:`read_mesh`."""
    slots = [original_material(slot) for slot in obj.material_slots] or [None]
    mesh.calc_loop_triangles()
    which = values(mesh.loop_triangles, "material_index", (len(mesh.loop_triangles),), "int32").clip(0, len(slots) - 1)
    used = {slots[index] for index in np.unique(which).tolist()}
    found = tuple(read_surface(material) for material in slots)
    left_out = tuple(dict.fromkeys(sentence for material in used if material for sentence in _left_out(material)))
    return Surfaces(found, which, left_out)


def read_surface(material: Any | None) -> scene.Surface:
    """One material's surface. What is linked counts with its mean where that is an image's, else with its own value."""
    tree = None if material is None else node_tree(material)
    shader = None if tree is None else shader_of(tree)
    if shader is None:
        return MATTE
    if shader.bl_idname in GLOSSY:
        return scene.Surface(roughness=_value(shader, "Roughness"), metallic=1.0)
    if shader.bl_idname != "ShaderNodeBsdfPrincipled":
        return MATTE
    tint = tuple(min(max(channel, 0.0), 1.0) for channel in shader.inputs["Specular Tint"].default_value[:3])
    red, green, blue = tint
    return scene.Surface(
        roughness=_value(shader, "Roughness"),
        metallic=_value(shader, "Metallic"),
        specular=reflectance(_number(shader, "IOR"), _number(shader, "Specular IOR Level")),
        specular_tint=(red, green, blue),
    )


def reflectance(ior: float, level: float) -> float:
    """What a Principled surface reflects at normal incidence: Fresnel's F0, scaled by 2 × "Specular IOR Level"."""
    return min(1.0, max(0.0, ((ior - 1) / (ior + 1)) ** 2 * 2 * level))


def _value(shader: Any, name: str) -> float:
    return min(1.0, max(0.0, _number(shader, name)))


def _number(shader: Any, name: str) -> float:
    socket = shader.inputs[name]
    link = link_into(socket)
    if link is not None and link.from_node.bl_idname == "ShaderNodeTexImage" and link.from_node.image is not None:
        return float(image_pixels(link.from_node.image).mean())
    return float(socket.default_value)


def _left_out(material: Any) -> Iterator[str]:
    tree = node_tree(material)
    if tree is None:
        return
    output, shader = tree.get_output_node("CYCLES"), shader_of(tree)
    for name, what in (("Displacement", "is displaced"), ("Volume", "has a volume")):
        if output is not None and output.inputs[name].is_linked:
            yield f"Material {material.name!r} {what}."
    if shader is None or shader.bl_idname in (*PLAIN, *GLOSSY):
        return
    if shader.bl_idname == "ShaderNodeBsdfPrincipled":
        yield from (f"Material {material.name!r} {what}." for what in _left_out_of_principled(shader))
    else:
        yield f"Material {material.name!r} mixes shaders: only the colour of its diffuse light is modelled."


def _left_out_of_principled(shader: Any) -> Iterator[str]:
    for name, what in LEFT_OUT.items():
        socket = shader.inputs.get(name)
        if socket is not None and _shows(shader, socket):
            yield what
    if shader.inputs["Alpha"].is_linked or shader.inputs["Alpha"].default_value < 1 - LEAST:
        yield "is see-through"
    if shader.inputs["Normal"].is_linked:
        yield "has a bump or normal map"
    for name in ("Roughness", "Metallic", "IOR", "Specular IOR Level", "Specular Tint"):
        if shader.inputs[name].is_linked:
            yield f"varies in {name.lower()}: its mean or set value is used"


def _shows(shader: Any, socket: Any) -> bool:
    if socket.name == "Emission Strength":
        color = shader.inputs["Emission Color"]
        dark = not color.is_linked and max(color.default_value[:3]) < LEAST
        return (socket.is_linked or socket.default_value > LEAST) and not dark
    return bool(socket.is_linked or socket.default_value > LEAST)
