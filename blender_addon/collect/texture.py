# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what colour an object has now, as the texture a job starts from. Reads base colour only, and bakes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._shared import errors, scene
from . import color
from .mesh import corner_uvs, corner_vertices, render_uv_map, values
from .versions import node_tree

SIZE = 512
"""Edge in texels of a texture that starts from no image."""
GREY = 0.8
"""The linear base colour that Blender shows an object without material in."""
BAKE = 'Bake its colour to an image, or give a starting colour with --init "#RRGGBB".'


@dataclass(frozen=True)
class Flat:
    """One colour all over: [3] uint8, display-encoded."""

    rgb: np.ndarray


@dataclass(frozen=True)
class Pictured:
    """An image: [H, W, 3] uint8, display-encoded, row 0 at the bottom; on `uv_map`, or on the rendered one if ""."""

    image: np.ndarray
    uv_map: str


@dataclass(frozen=True)
class Painted:
    """A colour attribute; "" is the one that renders use."""

    attribute: str


Look = Flat | Pictured | Painted


def read_look(obj: Any, mesh: Any, init: str) -> Look:
    """What an evaluated `obj` looks like (`init` is "own"), or the flat colour that `init` gives.

    Raises :class:`InvalidInput` for a colour that is computed by more than an image, an attribute or a plain value.
    """
    if init != "own":
        return Flat(color.parse(init))
    material = _first_material(obj, mesh)
    if material is None:
        return _flat((GREY, GREY, GREY))
    tree = node_tree(material)
    if tree is None:
        return _flat(material.diffuse_color)
    shader = _shader(tree)
    if shader is None:
        return _flat((GREY, GREY, GREY))
    if shader.bl_idname not in COLOR_SOCKETS:
        raise _too_complex(material, f"the shader {shader.bl_label!r}")
    return _look_of_socket(material, shader.inputs[COLOR_SOCKETS[shader.bl_idname]])


#: Shaders whose colour is understood, by the socket that holds it.
COLOR_SOCKETS = {"ShaderNodeBsdfPrincipled": "Base Color", "ShaderNodeBsdfDiffuse": "Color"}


def _first_material(obj: Any, mesh: Any) -> Any | None:
    used = int(values(mesh.polygons, "material_index", (len(mesh.polygons),), "int32").min())
    slots = obj.material_slots
    if not slots:
        return None
    material = slots[min(used, len(slots) - 1)].material  # Blender shows an index beyond the slots as the last one
    return None if material is None else material.original


def _shader(tree: Any) -> Any | None:
    output = tree.get_output_node("CYCLES")
    link = _link_into(output.inputs["Surface"]) if output is not None else None
    return link.from_node if link is not None else None


def _link_into(socket: Any) -> Any | None:
    """The link that feeds `socket`, seen through reroutes; None when nothing does."""
    link = next((link for link in socket.links if not link.is_muted), None)
    if link is not None and link.from_node.bl_idname == "NodeReroute":
        return _link_into(link.from_node.inputs[0])
    return link


def _look_of_socket(material: Any, socket: Any) -> Look:
    link = _link_into(socket)
    if link is None:
        return _flat(socket.default_value)
    node = link.from_node
    if node.bl_idname == "ShaderNodeTexImage" and link.from_socket.name == "Color":
        return Pictured(_read_image(material, node), _uv_map_of(material, node))
    if node.bl_idname == "ShaderNodeVertexColor" and link.from_socket.name == "Color":
        return Painted(node.layer_name)
    if node.bl_idname == "ShaderNodeAttribute" and node.attribute_type == "GEOMETRY":
        return Painted(node.attribute_name)
    raise _too_complex(material, f"the node {node.name!r}")


def _uv_map_of(material: Any, node: Any) -> str:
    """The UV map that an image node names, "" for the rendered one."""
    if node.projection != "FLAT":
        raise _too_complex(material, f"the {node.projection.lower()} projection of {node.name!r}")
    link = _link_into(node.inputs["Vector"])
    if link is None or (link.from_node.bl_idname == "ShaderNodeTexCoord" and link.from_socket.name == "UV"):
        return ""
    if link.from_node.bl_idname == "ShaderNodeUVMap":
        return str(link.from_node.uv_map)
    raise _too_complex(material, f"the mapping of {node.name!r} by {link.from_node.name!r}")


def _too_complex(material: Any, cause: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"The colour of material {material.name!r} is made by {cause}.", hint=BAKE)


def _flat(linear: Any) -> Flat:
    return Flat(color.to_bytes(color.encode(np.array(linear[:3], np.float32))))


def _read_image(material: Any, node: Any) -> np.ndarray:
    """The pixels of an image node: [H, W, 3] uint8, display-encoded, row 0 at the bottom."""
    image = node.image
    if image is None:
        raise errors.InvalidInput(f"Node {node.name!r} of material {material.name!r} has no image.", hint=BAKE)
    if image.source == "TILED":
        raise errors.InvalidInput(f"Image {image.name!r} has several UDIM tiles.", hint=BAKE)
    pixels = image_pixels(image)
    encoded = color.encode(pixels) if is_linear(image) else pixels
    return color.to_bytes(encoded)


def image_pixels(image: Any) -> np.ndarray:
    """The colours of `image` as Blender stores them, [H, W, 3] float32, row 0 at the bottom.

    Raises :class:`InvalidInput` that names the file of an image that cannot be read.
    """
    width, height = image.size
    if width * height == 0 or len(image.pixels) == 0:
        where = f" ({image.filepath})" if image.filepath else ""
        raise errors.InvalidInput(f"Image {image.name!r}{where} cannot be read.", hint="Check that its file exists.")
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, image.channels)
    return pixels[..., :3] if image.channels >= 3 else np.repeat(pixels[..., :1], 3, axis=2)


def is_linear(image: Any) -> bool:
    """Whether the stored values of `image` are scene-linear: float images are, bytes only by their colour space."""
    space = image.colorspace_settings
    return bool(image.is_float or space.is_data or space.name.startswith("Linear"))


def uv_texture(look: Look, size: int | None) -> scene.UvTexture:
    """The starting texture as an image of `size` texels squared (None: as large as the look's own image, or 512)."""
    if isinstance(look, Painted):
        raise errors.InvalidInput(
            f"The object's colour is the attribute {look.attribute!r}, which is no image.",
            hint=f"Use --texture vertex. Or: {BAKE}",
        )
    if isinstance(look, Flat):
        edge = size or SIZE
        return scene.UvTexture(np.tile(look.rgb, (edge, edge, 1)))
    image = look.image
    if size is not None and image.shape[:2] != (size, size):
        image = resample(image, size, size)
    return scene.UvTexture(np.ascontiguousarray(image))


def resample(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A display-encoded uint8 image [H, W, 3] in another size: area averages when smaller, bilinear when larger."""
    linear = color.decode(image / np.float32(255.0))
    rows, columns = _weights(image.shape[0], height), _weights(image.shape[1], width)
    smaller = np.tensordot(rows, linear, axes=(1, 0))  # [height, W, 3]
    return color.to_bytes(color.encode(np.einsum("xw,hwc->hxc", columns, smaller, optimize=True)))


def _weights(source: int, target: int) -> np.ndarray:
    """How much each of `source` texels gives to each of `target`: [target, source] float32, rows summing to 1."""
    scale = source / target
    centers = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centers[:, None])
    weights = np.maximum(0.0, 1.0 - distance) if scale < 1 else np.clip(scale / 2 + 0.5 - distance, 0.0, 1.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def vertex_texture(obj: Any, mesh: Any, look: Look, *, own: bool) -> scene.VertexTexture:
    """The starting texture as colours of the evaluated vertices.

    An `own` flat look gives way to the active colour attribute, as imported scans have colours but no material.
    """
    _check_same_topology(obj, mesh)
    if isinstance(look, Flat) and own and mesh.color_attributes.active_color is not None:
        look = Painted(mesh.color_attributes.active_color.name)
    if isinstance(look, Painted):
        colors = _attribute_colors(obj, mesh, look.attribute)
    elif isinstance(look, Pictured):
        colors = _sampled_colors(obj, mesh, look)
    else:
        colors = np.tile(look.rgb, (len(mesh.vertices), 1))
    return scene.VertexTexture(colors)


def _check_same_topology(obj: Any, mesh: Any) -> None:
    """Vertex colours can only be written back where modifiers leave the vertices as they are."""
    original = obj.original.data
    same = len(original.vertices) == len(mesh.vertices) and len(original.loops) == len(mesh.loops)
    if not same or not np.array_equal(corner_vertices(original), corner_vertices(mesh)):
        raise errors.InvalidInput(
            f"Modifiers change the vertices of {obj.name!r} ({len(original.vertices)} to {len(mesh.vertices)}).",
            hint="Apply the modifiers, or use --texture uv.",
        )


def _attribute_colors(obj: Any, mesh: Any, name: str) -> np.ndarray:
    """A colour attribute as [V, 3] uint8, display-encoded; corners are averaged in linear light."""
    attributes = mesh.color_attributes
    attribute = attributes.get(name) if name else _rendered_attribute(attributes)
    if attribute is None:
        listed = ", ".join(repr(item.name) for item in attributes) or "none"
        raise errors.InvalidInput(
            f"Object {obj.name!r} has no colour attribute {name!r}.", hint=f"Its colour attributes: {listed}."
        )
    encoded = values(attribute.data, "color_srgb", (len(attribute.data), 4))[:, :3]
    if attribute.domain == "POINT":
        return color.to_bytes(encoded)
    return _vertex_means(mesh, color.decode(encoded))


def _rendered_attribute(attributes: Any) -> Any | None:
    index = attributes.render_color_index
    return attributes[index] if 0 <= index < len(attributes) else attributes.active_color


def _sampled_colors(obj: Any, mesh: Any, look: Pictured) -> np.ndarray:
    """The image at the vertices, [V, 3] uint8: bilinear, repeating, averaged over the corners of a seam."""
    uv_map = look.uv_map or render_uv_map(mesh)
    if uv_map not in mesh.uv_layers:
        raise errors.InvalidInput(
            f"Object {obj.name!r} shows an image but has no UV map {uv_map!r}.", hint="Unwrap it, or give --init."
        )
    return _vertex_means(mesh, _sample(color.decode(look.image / np.float32(255.0)), corner_uvs(mesh, uv_map)))


def _sample(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear, repeating samples [N, 3] of `image` [H, W, 3] (row 0 at v = 0) at `uv` [N, 2]."""
    size = np.array(image.shape[1::-1])
    place = np.nan_to_num(uv) * size - 0.5
    low = np.floor(place).astype(np.int64)
    share = (place - low).astype(np.float32)
    (x0, y0), (x1, y1) = (low % size).T, ((low + 1) % size).T
    x, y = share[:, :1], share[:, 1:]
    bottom = image[y0, x0] * (1 - x) + image[y0, x1] * x
    top = image[y1, x0] * (1 - x) + image[y1, x1] * x
    return np.asarray(bottom * (1 - y) + top * y)


def _vertex_means(mesh: Any, linear: np.ndarray) -> np.ndarray:
    """Means of linear corner colours [L, 3] at each vertex, [V, 3] uint8 encoded; grey where a vertex has no face."""
    corners, count = corner_vertices(mesh), len(mesh.vertices)
    uses = np.bincount(corners, minlength=count)
    sums = np.stack([np.bincount(corners, linear[:, channel], count) for channel in range(3)], axis=1)
    means = np.where(uses[:, None] > 0, sums / np.maximum(uses, 1)[:, None], GREY)
    return color.to_bytes(color.encode(means))
