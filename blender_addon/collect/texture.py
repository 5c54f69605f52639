# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what colour an object has now, as the texture a job starts from. What only a render shows is left to `bake`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._shared import errors, scene
from . import color
from .mesh import corner_uvs, corner_vertices, render_uv_map, values
from .versions import node_tree

SIZE = 512
"""Edge in texels of a texture that starts from no image."""
LARGEST_BAKE = 2048
"""Edge in texels beyond which nothing is baked unasked: it takes as long as the artist would wait."""
GREY = 0.8
"""The linear base colour that Blender shows an object without material in."""
START = 'Or give a starting colour (--init "#RRGGBB").'


@dataclass(frozen=True)
class Flat:
    """One colour all over: red, green, blue of 0 to 255, display-encoded."""

    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Pictured:
    """A Blender image, laid out by `uv_map` ("" on a mesh without any)."""

    image: Any
    uv_map: str


@dataclass(frozen=True)
class Painted:
    """A colour attribute; "" is the one that renders use."""

    attribute: str


@dataclass(frozen=True)
class Mixed:
    """What only a bake can show: several looks, or one that nodes compute.

    `pictures` are the plain images among them, `edge` is the longest edge of any image, in texels (0 without one).
    """

    pictures: tuple[Pictured, ...]
    edge: int


Plain = Flat | Pictured | Painted
Look = Plain | Mixed


def read_look(obj: Any, mesh: Any, init: str) -> Look:
    """What an evaluated `obj` looks like (`init` is "own"), or the flat colour that `init` gives.

    Raises :class:`InvalidInput` that names a material whose image cannot be read.
    """
    if init != "own":
        return Flat(_triple(color.parse(init)))
    looks = list(dict.fromkeys(_look_of(mesh, material) for material in used_materials(obj, mesh)))
    if len(looks) == 1:
        return looks[0]
    return Mixed(tuple(look for look in looks if isinstance(look, Pictured)), max(map(_edge, looks)))


def _edge(look: Look) -> int:
    if isinstance(look, Pictured):
        return int(max(look.image.size))
    return look.edge if isinstance(look, Mixed) else 0


def used_materials(obj: Any, mesh: Any) -> list[Any | None]:
    """The materials that faces of an evaluated `obj` use, one for each slot; None for an empty one."""
    slots = obj.material_slots
    if not slots:
        return [None]
    used = np.unique(values(mesh.polygons, "material_index", (len(mesh.polygons),), "int32"))
    # Blender shows an index beyond the slots as the last one.
    return [original_material(slots[index]) for index in np.unique(used.clip(0, len(slots) - 1)).tolist()]


def original_material(slot: Any) -> Any | None:
    """The artist's own material in a slot of an evaluated object."""
    return None if slot.material is None else slot.material.original


#: Shaders whose colour is understood, by the socket that holds it.
COLOR_SOCKETS = {
    "ShaderNodeBsdfPrincipled": "Base Color",
    "ShaderNodeBsdfDiffuse": "Color",
    "ShaderNodeEmission": "Color",
}


def _look_of(mesh: Any, material: Any | None) -> Look:
    if material is None:
        return _flat((GREY, GREY, GREY))
    tree = node_tree(material)
    if tree is None:
        return _flat(material.diffuse_color)
    shader = shader_of(tree)
    if shader is None:
        return _flat((0.0, 0.0, 0.0))  # as renders show it
    images = _check_images(material, shader)
    look = None
    if shader.bl_idname in COLOR_SOCKETS:
        look = _look_of_socket(mesh, shader.inputs[COLOR_SOCKETS[shader.bl_idname]])
    return look or Mixed((), max((max(image.size) for image in images), default=0))


def shader_of(tree: Any) -> Any | None:
    """The shader that a material's tree ends in; None when there is none."""
    output = tree.get_output_node("CYCLES")
    link = link_into(output.inputs["Surface"]) if output is not None else None
    return link.from_node if link is not None else None


def link_into(socket: Any) -> Any | None:
    """The link that feeds `socket`, seen through reroutes; None when nothing does."""
    link = next((link for link in socket.links if not link.is_muted), None)
    if link is not None and link.from_node.bl_idname == "NodeReroute":
        return link_into(link.from_node.inputs[0])
    return link


def _look_of_socket(mesh: Any, socket: Any) -> Look | None:
    """The look that a colour socket gives, None for one that nodes compute."""
    link = link_into(socket)
    if link is None:
        return _flat(socket.default_value)
    node = link.from_node
    if node.mute:
        return None
    if node.bl_idname == "ShaderNodeTexImage" and link.from_socket.name == "Color":
        uv_map = _uv_map_of(mesh, node)
        return None if uv_map is None else Pictured(node.image, uv_map)
    if node.bl_idname == "ShaderNodeVertexColor" and link.from_socket.name == "Color":
        return Painted(node.layer_name)
    if node.bl_idname == "ShaderNodeAttribute" and node.attribute_type == "GEOMETRY":
        return Painted(node.attribute_name)
    return None


def _uv_map_of(mesh: Any, node: Any) -> str | None:
    """The UV map that lays out an image node one to one; None when it is laid out in any other way."""
    if node.projection != "FLAT" or node.image.source == "TILED":
        return None
    link = link_into(node.inputs["Vector"])
    if link is None or (link.from_node.bl_idname == "ShaderNodeTexCoord" and link.from_socket.name == "UV"):
        return render_uv_map(mesh)
    if link.from_node.bl_idname == "ShaderNodeUVMap":
        return str(link.from_node.uv_map) or render_uv_map(mesh)
    return None


def color_socket(shader: Any) -> Any | None:
    """The input that holds the colour of a shader node; None for other nodes, and for shaders without one."""
    if shader.bl_idname == "ShaderNodeGroup" or not any(output.type == "SHADER" for output in shader.outputs):
        return None
    return shader.inputs.get("Base Color") or shader.inputs.get("Color")


def _image_nodes(roots: list[Any]) -> Iterator[Any]:
    """The image nodes that the colour of the nodes `roots` depends on, also those inside groups."""
    waiting, seen = list(roots), set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.bl_idname == "ShaderNodeTexImage":
            yield node
        if node.bl_idname == "ShaderNodeGroup" and node.node_tree is not None:
            yield from _image_nodes([inner for inner in node.node_tree.nodes if inner.bl_idname == "NodeGroupOutput"])
        socket = color_socket(node)
        for followed in node.inputs if socket is None else [socket]:
            waiting += [link.from_node for link in followed.links if not link.is_muted]


def _check_images(material: Any, shader: Any) -> list[Any]:
    """The images in the colour of `shader`. Raises :class:`InvalidInput` for one that a render could not show."""
    images = []
    for node in _image_nodes([shader]):
        if node.image is None:
            raise errors.InvalidInput(
                f"Node {node.name!r} of material {material.name!r} has no image.", hint=f"Choose one. {START}"
            )
        if _is_unreadable(node.image):
            raise errors.InvalidInput(
                f"{_called(node.image)} of material {material.name!r} cannot be read.",
                hint=f"Check that its file exists. {START}",
            )
        images.append(node.image)
    return images


def _flat(linear: Any) -> Flat:
    return Flat(_triple(color.to_bytes(color.encode(np.array(linear[:3], np.float32)))))


def _triple(rgb: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = rgb.tolist()
    return (red, green, blue)


def _is_unreadable(image: Any) -> bool:
    return image.size[0] * image.size[1] == 0 or len(image.pixels) == 0


def _called(image: Any) -> str:
    return f"Image {image.name!r}" + (f" ({image.filepath})" if image.filepath else "")


def read_image(image: Any) -> np.ndarray:
    """The pixels of an image: [H, W, 3] uint8, display-encoded, row 0 at the bottom."""
    pixels = image_pixels(image)
    return color.to_bytes(color.encode(pixels) if is_linear(image) else pixels)


def image_pixels(image: Any) -> np.ndarray:
    """The colours of `image` as Blender stores them, [H, W, 3] float32, row 0 at the bottom.

    Raises :class:`InvalidInput` that names the file of an image that cannot be read.
    """
    if _is_unreadable(image):
        raise errors.InvalidInput(f"{_called(image)} cannot be read.", hint="Check that its file exists.")
    width, height = image.size
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, image.channels)
    return pixels[..., :3] if image.channels >= 3 else np.repeat(pixels[..., :1], 3, axis=2)


def is_linear(image: Any) -> bool:
    """Whether the stored values of `image` are scene-linear: float images are, bytes only by their colour space."""
    space = image.colorspace_settings
    return bool(image.is_float or space.is_data or space.name.startswith("Linear"))


def without_bake(look: Look, uv_map: str) -> Flat | Pictured | None:
    """`look` where an image on `uv_map` can be made of it as it is; None where only a bake gives one."""
    if isinstance(look, Flat) or (isinstance(look, Pictured) and look.uv_map == uv_map):
        return look
    return None


def bake_size(look: Look, size: int | None) -> int:
    """The edge in texels of an image that `look` is baked to: `size`, or that of its images."""
    return size or min(_edge(look) or SIZE, LARGEST_BAKE)


def uv_texture(look: Flat | Pictured, size: int | None) -> scene.UvTexture:
    """The starting texture as an image of `size` texels squared (None: as large as the look's own image, or 512)."""
    if isinstance(look, Flat):
        edge = size or SIZE
        return scene.UvTexture(np.tile(np.array(look.rgb, np.uint8), (edge, edge, 1)))
    image = read_image(look.image)
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


def vertex_texture(obj: Any, mesh: Any, look: Plain | np.ndarray, *, own: bool) -> scene.VertexTexture:
    """The starting texture as colours of the evaluated vertices. A mixed `look` comes baked: linear corners [L, 3].

    An `own` flat look gives way to the active colour attribute, as imported scans have colours but no material.
    """
    _check_same_topology(obj, mesh)
    if isinstance(look, Flat) and own and mesh.color_attributes.active_color is not None:
        look = Painted(mesh.color_attributes.active_color.name)
    if isinstance(look, Painted):
        colors = _attribute_colors(obj, mesh, look.attribute)
    elif isinstance(look, Pictured):
        colors = _sampled_colors(obj, mesh, look)
    elif isinstance(look, Flat):
        colors = np.tile(np.array(look.rgb, np.uint8), (len(mesh.vertices), 1))
    else:
        colors = _vertex_means(mesh, look)
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
    check_picture(obj, mesh, look)
    if not look.uv_map:
        raise errors.InvalidInput(f"Object {obj.name!r} shows an image but has no UV map.", hint="Unwrap it.")
    image = color.decode(read_image(look.image) / np.float32(255.0))
    return _vertex_means(mesh, _sample(image, corner_uvs(mesh, look.uv_map)))


def check_picture(obj: Any, mesh: Any, look: Pictured) -> None:
    """Raise :class:`InvalidInput` when the material lays out its image by a UV map that the object does not have."""
    if look.uv_map and look.uv_map not in mesh.uv_layers:
        raise errors.InvalidInput(
            f"The image of {obj.name!r} is laid out by the UV map {look.uv_map!r}, which it does not have.",
            hint=f"Its UV maps: {', '.join(repr(layer.name) for layer in mesh.uv_layers) or 'none'}.",
        )


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
