# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample objects to try the add-on on: a coffee mug, a traffic light, a school bus. Each is one mesh object with clean
UVs, a vertex group "mask" and a plain matte material; it stands on z = 0, centred, with its front towards −Y."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from .._shared import errors
from . import coffee_mug, school_bus, traffic_light
from .build import MASK, build_mesh
from .patches import Shell, moved

MENU_LABEL = "Assistive Sample"
GREY = 0.2140  # linear; 0.5 in sRGB


@dataclass(frozen=True)
class Sample:
    """What one sample is called, and the ImageNet label that it should be recognised as."""

    name: str
    label: str
    target: str
    description: str


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        Sample("coffee_mug", "Coffee Mug", "coffee mug", "A mug, 10 cm high, with a band for a print as its mask"),
        Sample(
            "traffic_light",
            "Traffic Light",
            "traffic light",
            "Three lamps under visors, 1.1 m high, with the housing as its mask",
        ),
        Sample(
            "school_bus",
            "School Bus",
            "school bus",
            "A bus, 10 m long, with its sheet metal, but no windows and wheels, as its mask",
        ),
    )
}

_MODELS: dict[str, Callable[[], list[Shell]]] = {
    "coffee_mug": coffee_mug.shells,
    "traffic_light": traffic_light.shells,
    "school_bus": school_bus.shells,
}


def create(name: str, context: Any = None) -> bpy.types.Object:
    """A new object of the sample `name`, linked to the scene of `context` (the current one unless given)."""
    if name not in SAMPLES:
        raise errors.InvalidInput(f'There is no sample "{name}".', hint=f"Choose one of: {', '.join(SAMPLES)}.")
    sample = SAMPLES[name]
    mesh = build_mesh(sample.label, _settled(_MODELS[name]()))
    mesh.materials.append(_matte_material(sample.label))
    made = bpy.data.objects.new(sample.label, mesh)
    made.vertex_groups.new(name=MASK)
    # The scene's own collection is in every view layer; the active one may be excluded from it.
    (context or bpy.context).scene.collection.objects.link(made)
    return made


def _settled(shells: list[Shell]) -> list[Shell]:
    """The same shells, centred on the origin and standing on the floor."""
    points = np.concatenate([part.points.reshape(-1, 3) for shell in shells for part in shell])
    low, high = points.min(axis=0), points.max(axis=0)
    offset = (-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2])
    return [moved(shell, offset) for shell in shells]


def _matte_material(name: str) -> bpy.types.Material:
    """Plain grey, as matte as a print on paper."""
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # before 5.0; later it is always there, and `use_nodes` deprecated
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (GREY, GREY, GREY, 1.0)
    shader.inputs["Roughness"].default_value = 1.0
    specular = "Specular IOR Level" if "Specular IOR Level" in shader.inputs else "Specular"
    shader.inputs[specular].default_value = 0.0
    return material


class ASSISTIVE_OT_add_sample(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Add a sample object with UVs, a mask and a matte material"""

    bl_idname = "assistive.add_sample"
    bl_label = "Add Sample"
    bl_options = {"REGISTER", "UNDO"}

    kind: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Sample",
        items=[(sample.name, sample.label, sample.description) for sample in SAMPLES.values()],
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only in Object Mode: a new object can't become active in the others."""
        if context.mode == "OBJECT":
            return True
        cls.poll_message_set("Samples can be added in Object Mode")
        return False

    def execute(self, context: Any) -> set[str]:
        """Adds it at the 3D cursor and leaves it active and alone in the selection."""
        made = create(self.kind, context)
        made.location = context.scene.cursor.location
        for other in context.view_layer.objects:
            other.select_set(False)
        made.select_set(True)
        context.view_layer.objects.active = made
        return {"FINISHED"}


class ASSISTIVE_MT_add_sample(bpy.types.Menu):  # type: ignore[misc]  # noqa: N801
    """The samples, in the Add menu."""

    bl_idname = "ASSISTIVE_MT_add_sample"
    bl_label = MENU_LABEL

    def draw(self, _context: Any) -> None:
        """One entry for each sample."""
        for sample in SAMPLES.values():
            entry = self.layout.operator(ASSISTIVE_OT_add_sample.bl_idname, text=sample.label)
            entry.kind = sample.name


def _draw_submenu(menu: Any, _context: Any) -> None:
    menu.layout.menu(ASSISTIVE_MT_add_sample.bl_idname)


def register() -> None:
    """Adds the operator, and its submenu to Add > Mesh."""
    bpy.utils.register_class(ASSISTIVE_OT_add_sample)
    bpy.utils.register_class(ASSISTIVE_MT_add_sample)
    bpy.types.VIEW3D_MT_mesh_add.append(_draw_submenu)


def unregister() -> None:
    """Takes everything of `register` back."""
    bpy.types.VIEW3D_MT_mesh_add.remove(_draw_submenu)
    bpy.utils.unregister_class(ASSISTIVE_MT_add_sample)
    bpy.utils.unregister_class(ASSISTIVE_OT_add_sample)
