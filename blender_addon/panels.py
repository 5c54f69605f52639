# SPDX-License-Identifier: GPL-3.0-or-later
"""The tab "Assistive" in the 3D viewport's side panel. Draws what is known; does nothing."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

from . import apply, coverage, icons, matters_view, preferences, request, results, runtime, session
from ._shared import errors, reporting, targets
from .operators.common import chosen_object

CHARACTER = 7.0
"""About how wide a character is, in pixels at scale 1."""
LEVEL_ICONS = {"INFO": "CHECKMARK", "WARNING": "ERROR", "ERROR": "ERROR"}


class _Panel:
    """Where all sections are."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Assistive"


def _column(layout: Any) -> Any:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    return column


def _sentence(layout: Any, context: Any, text: str, *, icon: str = "NONE", alert: bool = False) -> None:
    """`text` in as many lines as it needs in this region."""
    scale = context.preferences.system.ui_scale
    width = max(20, int((context.region.width / scale - 60) / CHARACTER))
    column = layout.column(align=True)
    column.alert = alert
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, width)]
    for number, line in enumerate(lines):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else "NONE")


class ASSISTIVE_PT_object(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """What is optimised, and what for"""

    bl_label = "Object & Target"
    bl_order = 0

    def draw(self, context: Any) -> None:
        """Object, target, beginning."""
        chosen = context.scene.assistive
        column = _column(self.layout)
        column.prop(chosen, "object", placeholder=_active_name(context))
        column.prop(chosen, "target", placeholder="sports car")
        column.prop(chosen, "initial")
        if chosen.initial == "FLAT":
            column.prop(chosen, "color")


class ASSISTIVE_PT_classes(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """Which classes the target stands for"""

    bl_label = ""
    bl_parent_id = "ASSISTIVE_PT_object"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """With a target, or a set to edit."""
        chosen = context.scene.assistive
        return bool(chosen.target.strip() or chosen.own_sets)

    def draw_header(self, context: Any) -> None:
        """How many there are, so that it is seen while closed."""
        self.layout.label(text=_classes(context)[0])

    def draw(self, context: Any) -> None:
        """All of them by name, and the artist's own sets."""
        chosen, layout = context.scene.assistive, self.layout
        for line in _classes(context)[1:]:
            _sentence(layout, context, line)
        layout.operator("assistive.add_target_set", icon="GREASEPENCIL")
        for item in chosen.own_sets:
            box = layout.box().column(align=True)
            row = box.row(align=True)
            row.prop(item, "name", text="")
            row.operator("assistive.remove_target_set", text="", icon="X").name = item.name
            box.prop(item, "classes", text="")


def _classes(context: Any) -> list[str]:
    """What the target stands for: a line in short, and all of its classes, as far as they are known by now."""
    labels = runtime.state().server.labels
    try:
        written = request.target_of(context.scene.assistive)
        names = [labels[index] for index in targets.resolve(written, labels).indices] if labels else None
    except errors.UnknownTarget as error:
        return ["No such target", str(error)]
    found = names if names is not None else targets.members(written)
    name = written.partition("=")[0]
    count = f"{len(found)} classes" if len(found) > 1 else "1 class"
    return [f"{name}: {count}" if len(found) > 1 else count, ", ".join(found)]


def _active_name(context: Any) -> str:
    obj = chosen_object(context)
    return obj.name if obj is not None else "Choose a mesh"


class ASSISTIVE_PT_mask(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """Where the texture may change"""

    bl_label = "Mask"
    bl_order = 1

    def draw(self, context: Any) -> None:
        """Group, inversion, coverage."""
        chosen, obj = context.scene.assistive, chosen_object(context)
        column = _column(self.layout)
        row = column.row(align=True)
        if obj is not None:
            row.prop_search(chosen, "mask", obj, "vertex_groups", text="Vertex Group")
        else:
            row.prop(chosen, "mask", text="Vertex Group")
        row.operator("assistive.new_mask", text="", icon="ADD")
        column.prop(chosen, "invert_mask")
        column.prop(chosen, "patch")
        if chosen.patch != "NONE":
            column.prop(chosen, "patch_size")
        painting = context.mode == "PAINT_WEIGHT"
        column.operator("assistive.paint_mask", text="Stop Painting" if painting else "Paint Mask", icon="BRUSH_DATA")
        if obj is not None and (chosen.mask or chosen.invert_mask):
            free = coverage.share(obj, chosen.mask, invert=chosen.invert_mask)
            text = "Measuring the mask" if free is None else f"{free:.0%} of the surface may change"
            column.label(text=text, icon="ERROR" if free == 0 else "MOD_MASK")


class ASSISTIVE_PT_views(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """From where, in which light, in front of what"""

    bl_label = "Views"
    bl_order = 2
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """Rigs and backgrounds."""
        chosen = context.scene.assistive
        column = _column(self.layout)
        column.prop(chosen, "cameras")
        if chosen.cameras == "COLLECTION":
            column.prop(chosen, "camera_collection", text="Collection")
        column.operator("assistive.create_camera_rig", icon="CAMERA_DATA")
        column.separator()
        column.prop(chosen, "lights")
        if chosen.lights == "COLLECTION":
            column.prop(chosen, "light_collection", text="Collection")
        column.operator("assistive.create_light_rig", icon="LIGHT")
        column.prop(chosen, "light")
        if chosen.light == "baked":
            column.prop(chosen, "light_map_size")
            column.prop(chosen, "light_map_samples")
        column.separator()
        column.prop(chosen, "backgrounds")
        if chosen.backgrounds in ("pictures", "panoramas"):
            column.prop(chosen, "background_folder")
        column.prop(chosen, "sampling")


class ASSISTIVE_PT_jitter(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """How far random views stray from the rig"""

    bl_label = "Jitter"
    bl_parent_id = "ASSISTIVE_PT_views"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """Of cameras, and of lights."""
        chosen = context.scene.assistive
        column = _column(self.layout)
        column.active = chosen.sampling == "random"
        for name in ("azimuth", "elevation", "roll", "distance", "zoom", "shift"):
            column.prop(chosen, f"camera_{name}")
        column.separator()
        for name in ("azimuth", "stops", "tint"):
            column.prop(chosen, f"light_{name}")


class ASSISTIVE_UL_classifiers(bpy.types.UIList):  # type: ignore[misc]  # noqa: N801
    """Classifiers and their roles"""

    def draw_item(  # Blender counts the arguments
        self, _context: Any, layout: Any, _data: Any, item: Any, _icon: int, _active: Any, _name: str
    ) -> None:
        """Name and role."""
        row = layout.split(factor=0.55)
        row.label(text=item.name)
        row = row.row(align=True)
        row.prop(item, "role", text="", emboss=False)
        if item.role == "TRAIN":
            row.prop(item, "weight", text="", emboss=False)


class ASSISTIVE_PT_optimise(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """How the texture is optimised"""

    bl_label = "Optimise"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """Preset, classifiers, texture, effort."""
        chosen, layout = context.scene.assistive, self.layout
        row = layout.row(align=True)
        row.menu("ASSISTIVE_MT_presets", text=bpy.types.ASSISTIVE_MT_presets.bl_label)
        row.operator("assistive.add_preset", text="", icon="ADD")
        row.operator("assistive.add_preset", text="", icon="REMOVE").remove_active = True
        row = layout.row()
        row.template_list(
            "ASSISTIVE_UL_classifiers", "", chosen, "classifiers", chosen, "classifier_index", rows=2, maxrows=6
        )
        buttons = row.column(align=True)
        buttons.operator("assistive.add_classifier", text="", icon="ADD")
        buttons.operator("assistive.remove_classifier", text="", icon="REMOVE")
        if not chosen.classifiers:
            default = f"{', '.join(request.DEFAULT_TRAINED)} trains, {', '.join(request.DEFAULT_HELD_OUT)} is held out."
            _sentence(layout, context, default, icon="INFO")
        column = _column(layout)
        column.prop(chosen, "texture")
        if chosen.texture == "uv":
            column.prop(chosen, "size")
            column.prop(chosen, "new_uv_map")
        column.prop(chosen, "steps")
        column.prop(chosen, "views")
        row = column.row(align=True, heading="Stay Close")
        row.prop(chosen, "bounded", text="")
        limit = row.row(align=True)
        limit.active = chosen.bounded
        limit.prop(chosen, "epsilon", text="")


class ASSISTIVE_PT_advanced(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """What rarely needs a change"""

    bl_label = "Advanced"
    bl_parent_id = "ASSISTIVE_PT_optimise"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """The rest of the settings."""
        chosen = context.scene.assistive
        column = _column(self.layout)
        for name in ("stepper", "alpha", "norm", "objective", "ensemble", "leave_one_out"):
            column.prop(chosen, name)
        column.separator()
        column.column(heading="Pictures").prop(chosen, "augment")
        for name in ("mined", "octaves", "smoothness"):
            column.prop(chosen, name)
        column.separator()
        for name in ("samples", "held_out_views", "survey", "blender_every", "seed"):
            column.prop(chosen, name)
        row = column.row(align=True, heading="Stop Early")
        row.prop(chosen, "stop_early", text="")
        limit = row.row(align=True)
        limit.active = chosen.stop_early
        limit.prop(chosen, "stop_at", text="")
        row = column.row(align=True, heading="Check in Blender")
        row.prop(chosen, "check_after", text="")
        samples = row.row(align=True)
        samples.active = chosen.check_after or chosen.blender_every > 0
        samples.prop(chosen, "check_engine", text="")
        samples.prop(chosen, "check_samples", text="Samples")


class ASSISTIVE_PT_run(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """The job"""

    bl_label = "Run"
    bl_order = 4

    def draw(self, context: Any) -> None:
        """Start, or how far it is."""
        layout, state = self.layout, runtime.state()
        if state.run is None:
            row = layout.row()
            row.scale_y = 1.5
            row.operator("assistive.start", icon="PLAY")
            layout.operator("assistive.check", icon="RENDER_STILL")
        else:
            self._draw_progress(layout, state)
            row = layout.row()
            row.operator("assistive.cancel", icon="CANCEL")
            self._draw_pictures(layout, context)
        checking = runtime.current().checking()
        if checking is not None:
            row = layout.row()
            row.label(text=checking.capitalize() or "Starting a Blender", icon="RENDER_STILL")
            row.operator("assistive.stop_check", text="", icon="X")
        elif state.run is None and runtime.current().has_work():
            layout.label(text="The result is added once Blender is free", icon="TIME")

    def _draw_progress(self, layout: Any, state: session.State) -> None:
        run = state.run
        assert run is not None
        share = run.step / run.steps if run.steps else 0.0
        layout.progress(factor=share, text=status_text(state))
        if run.status == "running" and run.step:
            row = layout.row()
            row.label(text=f"{_duration(run.eta_s)} left", icon="TIME")
            row.label(text=f"Confidence {run.curve.mean[-1]:.2f}" if run.curve.mean else "")

    def _draw_pictures(self, layout: Any, _context: Any) -> None:
        columns = layout.row()
        for name, title in (("curve", "Confidence 0–1"), ("worst", "Worst view")):
            number = icons.icon(name)
            if number:
                column = columns.column(align=True)
                column.label(text=title)
                column.template_icon(icon_value=number, scale=6.0)


class ASSISTIVE_PT_message(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """What came of the last job, and jobs whose results wait for this file.

    A panel of its own: Blender 4.3 draws the first line of a message like the progress bar that was in its place.
    """

    bl_label = "Message"
    bl_parent_id = "ASSISTIVE_PT_run"
    bl_options = {"HIDE_HEADER"}

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Whether there is anything to say."""
        return runtime.current().message is not None or bool(runtime.state().offers)

    def draw(self, context: Any) -> None:
        """The message, the offers."""
        message = runtime.current().message
        if message is not None:
            alert = message.level == "ERROR"
            _sentence(self.layout, context, message.text, icon=LEVEL_ICONS[message.level], alert=alert)
        for ticket in runtime.state().offers:
            self._draw_offer(self.layout, context, ticket)

    def _draw_offer(self, layout: Any, context: Any, ticket: session.Ticket) -> None:
        box = layout.box()
        text = f"{ticket.address} has a job of this file: {ticket.object} as {ticket.settings.target}."
        _sentence(box, context, text, icon="TIME")
        row = box.row()
        row.operator("assistive.fetch").job_id = ticket.job_id
        row.operator("assistive.dismiss").job_id = ticket.job_id


def status_text(state: session.State) -> str:
    """How the job stands, in a few words."""
    run = state.run
    assert run is not None
    if state.server.status == "silent":
        return "The server does not answer"
    texts = {
        "waiting": "Starting a server" if state.server.status == "starting" else "Connecting",
        "sending": "Sending the scene",
        "queued": _place(run),
        "running": f"Step {run.step} of {run.steps}" if run.step else "Preparing",
        "measuring": "Measuring on unseen views",
        "comparing": f"Leaving one classifier out, {run.step} of {run.steps}",
        "cancelling": "Cancelling",
    }
    return texts[run.status]


def _place(run: session.Run) -> str:
    """Where a job stands that waits."""
    if not run.position:
        return "Waiting for its turn"
    wait = f", about {_duration(run.wait_s)}" if run.wait_s is not None else ""
    return f"Waiting, {run.position} before it{wait}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class ASSISTIVE_UL_results(bpy.types.UIList):  # type: ignore[misc]  # noqa: N801
    """Textures that jobs have made"""

    def draw_item(  # Blender counts the arguments
        self, _context: Any, layout: Any, _data: Any, item: Any, _icon: int, _active: Any, _name: str
    ) -> None:
        """Thumbnail, target, and how far it went."""
        row = layout.row(align=True)
        row.prop(item, "ticked", text="")
        row = row.split(factor=0.6)
        row.label(text=item.target, icon_value=results.icon(item))
        figures = results.figures(item)
        row.label(text=f"{figures[0].before_mean:.2f} → {figures[0].after_mean:.2f}" if figures else "interrupted")


class ASSISTIVE_PT_results(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """What jobs have made"""

    bl_label = "Results"
    bl_order = 5

    def draw(self, context: Any) -> None:
        """The list, and what can be done with the chosen one."""
        chosen, layout = context.scene.assistive, self.layout
        if not chosen.results:
            layout.label(text="No results yet", icon="INFO")
            return
        layout.template_list("ASSISTIVE_UL_results", "", chosen, "results", chosen, "result_index", rows=3)
        if not 0 <= chosen.result_index < len(chosen.results):
            return
        item = chosen.results[chosen.result_index]
        self._draw_figures(layout, item)
        self._draw_check(layout, context, item)
        column = layout.column(align=True)
        column.operator("assistive.apply_result", icon="MATERIAL")
        self._draw_compare(column, item)
        column.operator("assistive.restore_original", icon="LOOP_BACK")
        if item.importance is not None:
            _draw_matters(layout, item)
        column = layout.column(align=True)
        row = column.row(align=True)
        row.operator("assistive.export_texture", text="Export PNG", icon="EXPORT")
        row.operator("assistive.mark_asset", text="Mark as Asset", icon="ASSET_MANAGER")
        row = column.row(align=True)  # short ones: a third of the width cuts longer labels
        row.operator("assistive.open_report", text="Report", icon="URL")
        row.operator("assistive.compare_reports", text="Compare", icon="ARROW_LEFTRIGHT")
        row.operator("assistive.delete_result", text="Delete", icon="TRASH")

    def _draw_figures(self, layout: Any, item: Any) -> None:
        row = layout.row()
        number = results.icon(item)
        if number:
            row.template_icon(icon_value=number, scale=4.0)
        column = row.column(align=True)
        for figures in results.figures(item):
            column.label(text=figures.model if figures.trained else f"{figures.model} (held out)")
            column.label(text=f"{figures.before_mean:.2f} → {figures.after_mean:.2f}, top-1 {figures.after_top1:.0%}")
        there = item.object is not None and item.object.users_scene
        column.label(text=reporting.local_time(item.created))
        column.label(text=item.object.name if there else f"{item.object_name} (deleted)")

    def _draw_check(self, layout: Any, context: Any, item: Any) -> None:
        """The server's pictures beside Blender's."""
        check = results.report_of(item).get("check")
        if not check:
            return
        box = layout.box()
        box.label(text=f"In Blender: {check['model']}", icon="RENDER_STILL")
        view = check["views"][check["worst"]]["after"]
        number = results.check_icon(item)
        if number:
            columns = box.row()
            columns.template_icon(icon_value=number, scale=7.0)
            column = columns.column(align=True)
            for line in (f"Server {view['server']:.2f}", f"Blender {view['blender']:.2f}", "Difference × 4", "Before"):
                column.label(text=line)
        text = f"Pixels differ by {check['mean_error']:.3f}, confidence by {check['mean_gap']:.2f}"
        if check["warning"]:
            _sentence(box, context, check["warning"], icon="ERROR", alert=True)
        else:
            _sentence(box, context, f"{text}: within its limit.", icon="CHECKMARK")

    def _draw_compare(self, column: Any, item: Any) -> None:
        if item.object is None or apply.applied_result(item.object) != item.name:
            return
        socket = apply.mix_socket(item.object)
        if socket is not None:
            column.prop(socket, "default_value", text="Original ↔ Assistive", slider=True)


def _draw_matters(layout: Any, item: Any) -> None:
    row, on = layout.row(align=True), matters_view.is_on(item)
    text = "Hide What Matters" if on else "Show What Matters"
    row.operator("assistive.show_matters", text=text, icon="SHADING_TEXTURE", depress=on)
    row.operator("assistive.export_matters", text="", icon="EXPORT")


class ASSISTIVE_PT_server(_Panel, bpy.types.Panel):  # type: ignore[misc]  # noqa: N801
    """Where it is computed"""

    bl_label = "Server"
    bl_order = 6

    def draw(self, context: Any) -> None:
        """State, address, start and stop."""
        layout, server = self.layout, runtime.state().server
        chosen = preferences.preferences(context)
        text, icon = SERVER_TEXTS[server.status]
        layout.label(text=text, icon=icon)
        if server.status in ("on", "silent"):
            column = layout.column(align=True)
            column.label(text=server.address, icon="BLANK1")
            started = ", started here" if server.local else ""
            column.label(text=f"Version {server.version}{started}", icon="BLANK1")
            column.label(text=f"Computes on {server.device or '… (starting)'}", icon="BLANK1")
            layout.operator("assistive.stop_server", text="Stop" if server.local else "Disconnect", icon="CANCEL")
        elif server.status in ("connecting", "starting"):
            layout.operator("assistive.stop_server", text="Stop", icon="CANCEL")
        else:
            if server.problem:
                _sentence(layout, context, server.problem, icon="ERROR", alert=True)
            _column(layout).prop(chosen, "address")
            row = layout.row(align=True)
            row.operator("assistive.connect", icon="LINKED")
            row.operator("assistive.start_server", text="Start Local", icon="PLAY")
            row = layout.row(align=True)
            row.operator("assistive.trust_server", text="Trust…", icon="LOCKED")
            row.operator("assistive.copy_key", icon="COPYDOWN")
            _column(layout).prop(chosen, "command")


SERVER_TEXTS = {
    "off": ("No server", "UNLINKED"),
    "connecting": ("Connecting", "SORTTIME"),
    "starting": ("Starting a server on this machine", "SORTTIME"),
    "on": ("Connected", "LINKED"),
    "silent": ("The server does not answer", "ERROR"),
}

CLASSES = (
    ASSISTIVE_UL_classifiers,
    ASSISTIVE_UL_results,
    ASSISTIVE_PT_object,
    ASSISTIVE_PT_classes,
    ASSISTIVE_PT_mask,
    ASSISTIVE_PT_views,
    ASSISTIVE_PT_jitter,
    ASSISTIVE_PT_optimise,
    ASSISTIVE_PT_advanced,
    ASSISTIVE_PT_run,
    ASSISTIVE_PT_message,
    ASSISTIVE_PT_results,
    ASSISTIVE_PT_server,
)


def register() -> None:
    """Adds the tab."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Takes it away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
