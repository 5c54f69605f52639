# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist sets up for a scene, and the results it has, as properties that are saved with the file.

Data only: what is made of it is in `request` (a job) and `results`.
"""

from __future__ import annotations

from typing import Any

import bpy

from ._shared import messages, scene, targets

CAMERA_JITTER = scene.CameraJitter(azimuth=25.0, elevation=10.0, roll=4.0, distance=0.15, zoom=0.05, shift=0.04)
"""As of the made-up rig: wide enough to close the gaps between its cameras."""
LIGHT_JITTER = scene.LightJitter(azimuth=180.0, stops=0.6, tint=0.1)
DEFAULTS = messages.Settings(target="")
LARGEST_SUGGESTION = 200


class ASSISTIVE_PG_classifier(bpy.types.PropertyGroup):  # type: ignore[misc]  # noqa: N801
    """A classifier that a job uses, by its name (`name`)"""

    role: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Role",
        items=[
            ("TRAIN", "Train", "The texture is optimised for this classifier"),
            ("HELD_OUT", "Held Out", "This classifier only measures the result"),
        ],
    )
    weight: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Weight", description="How much this classifier counts in training", default=1.0, min=0.01, soft_max=10.0
    )


class ASSISTIVE_PG_result(bpy.types.PropertyGroup):  # type: ignore[misc]  # noqa: N801
    """A texture that a job has made (`name` is its job's id), and what was measured of it"""

    target: bpy.props.StringProperty(name="Target")  # type: ignore[valid-type]
    created: bpy.props.StringProperty(name="Created", description="Date and time, ISO 8601")  # type: ignore[valid-type]
    object: bpy.props.PointerProperty(name="Object", type=bpy.types.Object)  # type: ignore[valid-type]
    object_name: bpy.props.StringProperty(name="Object Name")  # type: ignore[valid-type]
    kind: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Kind", items=[("UV", "UV Texture", ""), ("VERTEX", "Vertex Colors", "")]
    )
    uv_map: bpy.props.StringProperty(name="UV Map")  # type: ignore[valid-type]
    image: bpy.props.PointerProperty(name="Image", type=bpy.types.Image)  # type: ignore[valid-type]
    sheet: bpy.props.PointerProperty(name="Contact Sheet", type=bpy.types.Image)  # type: ignore[valid-type]
    check: bpy.props.PointerProperty(name="Check", type=bpy.types.Image)  # type: ignore[valid-type]
    importance: bpy.props.PointerProperty(name="What Matters", type=bpy.types.Image)  # type: ignore[valid-type]
    report: bpy.props.StringProperty(name="Report", description="All figures and settings, as JSON")  # type: ignore[valid-type]
    plots: bpy.props.StringProperty(name="Plots", description="SVG files by name, as JSON")  # type: ignore[valid-type]
    ticked: bpy.props.BoolProperty(name="Compare", description="Take this result along when reports are compared")  # type: ignore[valid-type]


def _is_mesh(_self: Any, obj: Any) -> bool:
    return bool(obj.type == "MESH")


def _search_target(self: Any, _context: Any, typed: str) -> list[str]:
    """What was typed, then sets and labels that contain it, or are most like it; labels are known once a server is.

    Return takes the first: nobody who types "cup" is to get "cups".
    """
    from . import runtime

    labels, word = runtime.state().server.labels, typed.strip()
    own = [item.name for item in self.own_sets if item.name]
    if not word:
        return list(dict.fromkeys((*own, *targets.SETS, *labels)))
    found = [name for name in (*own, *targets.SETS, *labels) if word.lower() in name.lower()]
    return list(dict.fromkeys([word, *(found or targets.nearest(word, labels))]))[:LARGEST_SUGGESTION]


class ASSISTIVE_PG_target_set(bpy.types.PropertyGroup):  # type: ignore[misc]  # noqa: N801
    """An artist's own set of classes (`name` is what a target calls it)"""

    classes: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Classes", description="Labels, class indices or sets that come with the add-on, joined by |"
    )


class ASSISTIVE_PG_settings(bpy.types.PropertyGroup):  # type: ignore[misc]  # noqa: N801
    """How the next job is to be done"""

    # --- object and target
    object: bpy.props.PointerProperty(  # type: ignore[valid-type]
        name="Object",
        description="The mesh object whose texture is optimised. Empty: the active object",
        type=bpy.types.Object,
        poll=_is_mesh,
    )
    target: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Target",
        description=(
            "What the object is to be recognised as: a label (sports car), a set (cars, or your own), "
            "a class index (817), or several joined by |"
        ),
        search=_search_target,
        search_options={"SUGGESTION"},
    )
    own_sets: bpy.props.CollectionProperty(type=ASSISTIVE_PG_target_set)  # type: ignore[valid-type]
    initial: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Start From",
        description="The texture that the job begins with",
        items=[
            ("OWN", "Own Colors", "What the object looks like now"),
            ("FLAT", "Flat Color", "One colour all over"),
        ],
    )
    color: bpy.props.FloatVectorProperty(  # type: ignore[valid-type]
        name="Color",
        description="The colour that the job begins with",
        subtype="COLOR_GAMMA",
        size=3,
        min=0.0,
        max=1.0,
        default=(0.5, 0.5, 0.5),
    )

    # --- mask
    mask: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Mask", description="Vertex group that says where the texture may change. Empty: everywhere"
    )
    invert_mask: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Invert", description="The texture may change where the mask has no weight"
    )

    patch: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Patch",
        description="Whether only a square patch may change, inside the mask",
        items=[
            ("NONE", "No Patch", "Everything that the mask leaves free may change"),
            ("SEARCH", "Best Place", "A patch where a search expects most of it"),
            ("RANDOM", "Random Place", "A patch at a random place that cameras see, to compare with"),
        ],
    )
    patch_size: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Patch Size",
        description="Share of the surface that the cameras see",
        default=0.05,
        min=0.001,
        max=0.5,
        subtype="FACTOR",
        precision=3,
    )

    # --- views
    cameras: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Cameras",
        description="From where the object is to be recognised",
        items=[
            ("AROUND", "Around the Object", "24 cameras that are made up for the job"),
            ("SCENE", "Cameras of the Scene", "All cameras of the view layer that see the object"),
            ("COLLECTION", "Collection", "The cameras of one collection"),
        ],
    )
    camera_collection: bpy.props.PointerProperty(  # type: ignore[valid-type]
        name="Camera Rig", description="A collection of cameras", type=bpy.types.Collection
    )
    lights: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Lights",
        description="In which light the object is to be recognised",
        items=[
            ("AROUND", "Six Common Lights", "Sun, lamps, overcast sky, made up for the job"),
            ("SCENE", "Lights of the Scene", "All lights that are rendered, and the world"),
            ("COLLECTION", "Collection", "Each collection inside one collection is a state of the light"),
        ],
    )
    light_collection: bpy.props.PointerProperty(  # type: ignore[valid-type]
        name="Light Rig", description="A collection with one collection for each state", type=bpy.types.Collection
    )
    light: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Light",
        description="How much of what happens to light on its way to the object is known while optimising",
        items=[
            ("open", "Open", "Direct light that nothing hides; fastest"),
            ("traced", "Traced", "Direct light with shadows of the object and what stands around it"),
            (
                "baked",
                "Baked",
                "Shadows and bounces by Cycles, as maps of each light on the object; takes some seconds for each light "
                "at the start, while Blender waits. Lights mix, but do not move",
            ),
        ],
    )
    light_map_size: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Map Size",
        description="Edge of the light maps in texels",
        items=[(str(size), f"{size} px", "") for size in (64, 128, 256, 512, 1024)],
        default="256",
    )
    light_map_samples: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Map Samples", description="Cycles samples for each texel of the light maps", default=64, min=1, max=4096
    )
    sampling: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Views",
        items=[
            ("random", "Random", "New views around the rig in every step; what holds on unseen views"),
            ("fixed", "Fixed", "The rig's own cameras only"),
        ],
    )
    camera_azimuth: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Azimuth", description="Degrees to both sides", default=CAMERA_JITTER.azimuth, min=0.0, max=180.0
    )
    camera_elevation: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Elevation", description="Degrees up and down", default=CAMERA_JITTER.elevation, min=0.0, max=90.0
    )
    camera_roll: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Roll", description="Degrees about the view axis", default=CAMERA_JITTER.roll, min=0.0, max=180.0
    )
    camera_distance: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Distance",
        description="0.1: between 1/1.1 and 1.1 times",
        default=CAMERA_JITTER.distance,
        min=0.0,
        max=3.0,
    )
    camera_zoom: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Zoom", description="0.1: between 1/1.1 and 1.1 times", default=CAMERA_JITTER.zoom, min=0.0, max=3.0
    )
    camera_shift: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Shift", description="Of the object in the frame, in frame widths", default=0.04, min=0.0, max=0.5
    )
    light_azimuth: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Light Azimuth", description="Degrees to both sides", default=LIGHT_JITTER.azimuth, min=0.0, max=180.0
    )
    light_stops: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Light Strength", description="Photographic stops", default=LIGHT_JITTER.stops, min=0.0, max=5.0
    )
    light_tint: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Light Tint", description="A factor for each channel", default=LIGHT_JITTER.tint, min=0.0, max=1.0
    )
    backgrounds: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Backgrounds",
        description="What stands behind the object; every view gets its own",
        items=[
            ("varied", "Varied", "Flat colours, horizons, blocks and noise in turn"),
            ("flat", "Flat", "A flat colour, another in each view"),
            ("noise", "Noise", "Coloured noise with the spectrum of natural pictures"),
            ("pictures", "Image Folder", "Pictures of a folder"),
            ("panoramas", "HDRI Folder", "Views into the panoramas of a folder, as backgrounds (they give no light)"),
            ("grey", "Grey", "Mid grey in every view"),
        ],
    )
    background_folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Folder", description="Where the pictures or panoramas are", subtype="DIR_PATH"
    )

    # --- optimise
    classifiers: bpy.props.CollectionProperty(type=ASSISTIVE_PG_classifier)  # type: ignore[valid-type]
    classifier_index: bpy.props.IntProperty()  # type: ignore[valid-type]
    texture: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Texture",
        items=[("uv", "UV Image", "An image on the UV map"), ("vertex", "Vertex Colors", "A colour attribute")],
    )
    size: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Size",
        description="Edge of the texture in texels",
        items=[("0", "Own", "As large as the object's image, or 512")]
        + [(str(size), f"{size} px", "") for size in (256, 512, 1024, 2048, 4096, 8192)],
    )
    new_uv_map: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="New UV Map",
        description="Lay the texture out on a new UV map, AssistiveUV, where no two faces share texels",
    )
    steps: bpy.props.IntProperty(name="Steps", default=DEFAULTS.steps, min=1, max=100_000)  # type: ignore[valid-type]
    views: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Views per Step", default=DEFAULTS.views, min=1, max=256
    )
    samples: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Samples",
        description="Samples per pixel",
        items=[(str(count), str(count), "") for count in (1, 4, 9, 16)],
        default=str(DEFAULTS.samples),
    )
    held_out_views: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Held-Out Views",
        description="Views never trained on, that the result is measured with",
        default=DEFAULTS.held_out_views,
        min=1,
        max=4096,
    )
    survey: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Directions",
        description=(
            "In how many directions around the object the result is looked at in the end, at each of four elevations, "
            "for the confidence sphere. 0: not at all"
        ),
        default=DEFAULTS.survey,
        min=0,
        max=72,
    )
    alpha: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Step Size",
        description="Of the colour range 0 to 1",
        default=DEFAULTS.alpha,
        min=1e-4,
        max=1.0,
        precision=3,
    )
    bounded: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Stay Close", description="Keep the texture within ε of the one it began with"
    )
    epsilon: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="ε",
        description="Greatest change of any texel, of the colour range 0 to 1",
        default=0.1,
        min=0.001,
        max=1.0,
    )
    norm: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="ε Measures",
        items=[
            ("linf", "Any Texel", "The greatest change of any channel of any texel (L∞)"),
            ("l2", "All Together", "The root of the sum of all squared changes (L2)"),
        ],
    )
    stepper: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Stepper",
        items=[
            ("sign", "Sign", "The sign of the gradient"),
            ("momentum", "Momentum Sign", "The sign of the gradient's running sum"),
            ("adam", "Adam", "Adaptive steps"),
        ],
    )
    objective: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Objective",
        items=[
            ("cross_entropy", "Cross-Entropy", "Confidence in the target"),
            ("margin", "Margin", "Distance from the best other class"),
        ],
    )
    ensemble: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Ensemble",
        description="Of several classifiers, which one's loss is made small",
        items=[
            ("mean", "Mean", "The weighted mean of all"),
            ("worst", "Worst First", "Mostly that of the classifier that does worst"),
        ],
    )
    leave_one_out: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Leave One Out",
        description=(
            "Of several classifiers, also train without each in turn, to tell how it does with a texture that was made "
            "without it. Takes as long again for each"
        ),
        default=DEFAULTS.leave_one_out,
    )
    augment: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Pictures",
        description="What half of the pictures go through in training, to hold under more conditions",
        options={"ENUM_FLAG"},
        items=[
            ("resize", "Resize", "Smaller, somewhere on grey"),
            ("crop", "Crop", "A part of the picture"),
            ("blur", "Blur", "Out of focus"),
            ("noise", "Noise", "Grain of the sensor"),
            ("jpeg", "JPEG", "Compressed"),
            ("fog", "Fog", "Seen through fog"),
            ("brightness", "Brightness", "Darker or brighter"),
        ],
        default=set(DEFAULTS.augment),
    )
    smoothness: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Smoothness",
        description="Weight of the texture's total variation: 0 for none, 5 for visibly smoother",
        default=DEFAULTS.smoothness,
        min=0.0,
        soft_max=50.0,
    )
    octaves: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Octaves",
        description="Scales at which the texture moves at once, each twice as coarse as the one before",
        default=DEFAULTS.octaves,
        min=1,
        max=8,
    )
    mined: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Hard Views",
        description="Share of each step's views that is taken from those found to be recognised least",
        default=DEFAULTS.mined,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    stop_early: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Stop Early", description="End once unseen views hold the confidence beside"
    )
    stop_at: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Confidence", default=0.95, min=0.0, max=1.0, subtype="FACTOR"
    )
    blender_every: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Blender Every",
        description=(
            "Every so many steps the classifiers see Blender's own pictures, with all that stands around the object: "
            "for glass, volumes and crowded scenes. A second Blender renders them; each takes seconds. 0: never"
        ),
        default=0,
        min=0,
    )
    check_after: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Check in Blender",
        description=(
            "After each job, a second Blender in the background renders unseen views, before and after; "
            "the result says how far they are from the server's pictures"
        ),
        default=True,
    )
    check_engine: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Check Engine",
        description="What renders Blender's pictures",
        items=[
            ("cycles", "Cycles", "Light as it is; on the CPU"),
            ("eevee", "EEVEE", "As the viewport shows it; needs a GPU or a display"),
        ],
    )
    check_samples: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Check Samples", description="Samples for each pixel", default=64, min=1, max=4096
    )
    seed: bpy.props.IntProperty(name="Seed", default=0, min=0)  # type: ignore[valid-type]

    # --- results
    results: bpy.props.CollectionProperty(type=ASSISTIVE_PG_result)  # type: ignore[valid-type]
    result_index: bpy.props.IntProperty(name="Result")  # type: ignore[valid-type]


CLASSES = (ASSISTIVE_PG_classifier, ASSISTIVE_PG_result, ASSISTIVE_PG_target_set, ASSISTIVE_PG_settings)


def register() -> None:
    """Gives every scene `scene.assistive`."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.assistive = bpy.props.PointerProperty(type=ASSISTIVE_PG_settings)


def unregister() -> None:
    """Takes `scene.assistive` away; what it holds comes back with the next registration."""
    del bpy.types.Scene.assistive
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
