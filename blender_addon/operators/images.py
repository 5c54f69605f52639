# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes an assistive image of an image datablock, by the server. The image that it is made of stays as it is."""

from __future__ import annotations

import threading
from typing import Any

import bpy
import numpy as np

from .. import preferences, request, runtime
from .._shared import client, errors, messages, presets
from ..collect.texture import read_image
from .common import allowed, reported

HELLO_S = 5.0
#: A large picture by several classifiers on a slow machine takes minutes.
ANSWER_S = 1800.0
TICK_S = 0.1
LEVELS = 255.0


class _Asking(threading.Thread):
    """Asks the server, apart from Blender's main thread. Knows no bpy."""

    def __init__(self, address: str, asked: messages.Assist) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._asked = asked
        self.answer: messages.Assisted | None = None
        self.error: errors.AssistiveError | None = None

    def run(self) -> None:
        """Sends the picture and waits for what becomes of it."""
        try:
            with client.Client(self._address) as server:
                server.hello(timeout_s=HELLO_S)
                self.answer = server.request(self._asked, messages.Assisted, timeout_s=ANSWER_S)
        except errors.AssistiveError as error:
            self.error = error

    def outcome(self) -> messages.Assisted:
        """What the server made. Raises its error."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


class ASSISTIVE_OT_assist_image(bpy.types.Operator):  # type: ignore[misc]  # noqa: N801
    """Make a copy of the image that classifiers recognise better, by changes that are hardly seen"""

    bl_idname = "assistive.assist_image"
    bl_label = "Make Assistive"
    bl_options = {"REGISTER", "UNDO"}

    image: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Image", description="Empty: the one that the Image Editor shows", options={"SKIP_SAVE"}
    )
    target: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Target", description="Label, class index or set. Empty: what the image is taken for already"
    )
    levels: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Levels", description="Greatest change of any channel, of 255", default=4, min=1, max=255
    )

    _asking: _Asking | None = None
    _source: str = ""
    _timer: Any = None

    @classmethod
    def poll(cls, context: Any) -> bool:
        """With an image in the editor, or anywhere in the file for scripts."""
        shown = _shown(context)
        if shown is None and getattr(context, "area", None) is not None and context.area.type == "IMAGE_EDITOR":
            return allowed(cls, "Open an image first.")
        return allowed(cls, None if len(bpy.data.images) else "There is no image in this file.")

    @reported
    def execute(self, context: Any) -> set[str]:
        """Asks and waits: for scripts."""
        asking = self._begin(context)
        asking.join()
        return self._end(asking.outcome())

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Asks, and Blender stays free; Escape drops the answer."""
        return self._ask(context)

    @reported
    def _ask(self, context: Any) -> set[str]:
        self._asking = self._begin(context)
        self._timer = context.window_manager.event_timer_add(TICK_S, window=context.window)
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set(f"Making {self._source!r} assistive; Esc stops waiting for it")
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        """Looks whether the answer has come."""
        assert self._asking is not None
        if event.type == "ESC":
            self._let_go(context)
            return {"CANCELLED"}
        if event.type != "TIMER" or self._asking.is_alive():
            return {"PASS_THROUGH"}
        self._let_go(context)
        return self._finish(context)

    @reported
    def _finish(self, _context: Any) -> set[str]:
        assert self._asking is not None
        return self._end(self._asking.outcome())

    def _let_go(self, context: Any) -> None:
        context.window_manager.event_timer_remove(self._timer)
        context.workspace.status_text_set(None)

    def _begin(self, context: Any) -> _Asking:
        image = _chosen(context, self.image)
        settings = settings_of(context, self.target, self.levels)
        picture = read_picture(image)
        self._source = image.name
        asking = _Asking(_address(context), messages.Assist(picture=picture, settings=settings))
        asking.start()
        return asking

    def _end(self, answer: messages.Assisted) -> set[str]:
        source = bpy.data.images.get(self._source)
        if source is None:
            raise errors.InvalidInput(f"The image {self._source!r} has been removed meanwhile.")
        model, said = next(iter(answer.models.items()))
        if not answer.improved:
            self.report({"WARNING"}, f"Nothing better was found than {source.name!r} is; no image was made.")
            return {"CANCELLED"}
        made = new_image(source, answer.picture)
        text = f"{made.name!r} as {answer.target.name!r}, {model}: {said.before.confidence:.2f} → "
        self.report({"INFO"}, f"{text}{said.after.confidence:.2f}")
        return {"FINISHED"}


def _address(context: Any) -> str:
    """The server that is in use, or the one in the preferences."""
    return runtime.state().server.address or runtime.checked_address(preferences.preferences(context).address)


def settings_of(context: Any, target: str, levels: int) -> messages.ImageSettings:
    """The panel's classifiers and objective, for a picture."""
    chosen = context.scene.assistive
    trained, held_out = request.classifiers_of(chosen)
    return presets.image_settings(
        target.strip(),
        models=trained,
        held_out_models=held_out,
        weights=request.weights_of(chosen),
        objective=chosen.objective,
        epsilon=levels / LEVELS,
    )


def _shown(context: Any) -> Any | None:
    space = getattr(context, "space_data", None)
    return getattr(space, "image", None) if space is not None and space.type == "IMAGE_EDITOR" else None


def _chosen(context: Any, name: str) -> Any:
    image = bpy.data.images.get(name) if name else _shown(context)
    if image is None:
        raise errors.InvalidInput(
            f"There is no image {name!r}." if name else "No image is chosen.", hint="Open one in the Image Editor."
        )
    return image


def read_picture(image: Any) -> np.ndarray:
    """The colours of `image`, ``[H, W, 3] uint8``, display-encoded, row 0 at the top. Raises :class:`InvalidInput` for
    one that cannot be read."""
    return np.ascontiguousarray(read_image(image)[::-1])


def new_image(source: Any, picture: np.ndarray) -> Any:
    """A new image inside the file: colours of `picture` (see :func:`read_picture`), alpha of `source`."""
    height, width = picture.shape[:2]
    rgba = np.ones((height, width, 4), np.float32)
    if source.channels == 4:
        own = np.empty(height * width * 4, np.float32)
        source.pixels.foreach_get(own)
        rgba[:, :, 3] = own.reshape(height, width, 4)[:, :, 3]
    rgba[:, :, :3] = picture[::-1] / LEVELS
    made = bpy.data.images.new(f"{source.name} Assistive", width, height, alpha=source.channels == 4)
    made.colorspace_settings.name = "sRGB"
    made.pixels.foreach_set(rgba.ravel())
    made.update()
    made.pack()
    return made


def _draw_menu(menu: Any, _context: Any) -> None:
    menu.layout.separator()
    menu.layout.operator_context = "INVOKE_DEFAULT"
    menu.layout.operator(ASSISTIVE_OT_assist_image.bl_idname)


def register() -> None:
    """Adds the operator, and its entry in the Image Editor's menu Image."""
    bpy.utils.register_class(ASSISTIVE_OT_assist_image)
    bpy.types.IMAGE_MT_image.append(_draw_menu)


def unregister() -> None:
    """Takes both away."""
    bpy.types.IMAGE_MT_image.remove(_draw_menu)
    bpy.utils.unregister_class(ASSISTIVE_OT_assist_image)
