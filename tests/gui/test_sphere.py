"""The confidence sphere in a real window: it is seen, answers clicks, and leaves nothing behind."""

from __future__ import annotations

import os
import statistics

from .conftest import EXTENSION, STEPS_VARIABLE
from .test_panel import DONE, RESULTS, SETTINGS, difference, hover, middle, start, wait_for_change, with_bus
from .window import Window

SPHERE = f"__import__('sys').modules['{EXTENSION}.sphere_view']"
ROTATION = "tuple(bpy.context.space_data.region_3d.view_rotation)"
PICKING = f"{SPHERE}.view.picking"
MARKED = f"{SPHERE}.view.marked"
FIGURES = "bpy.app.driver_namespace"
#: A survey looks hundreds of times with each classifier.
ONE_CLASSIFIER = f"{SETTINGS}.classifiers.add().name = 'efficientnet_lite0'"
JOB_S = 500.0
#: Enough for cells of both colours.
STEPS = os.environ.get(STEPS_VARIABLE, "30")
#: A drawing on the main thread that takes longer than this would be felt, with software OpenGL too.
DRAW_MS = 33.0
DRAWS = 30
#: Times the drawing of the cells and of the text.
MEASURE = f"""
import sys, time
sphere_view = sys.modules["{EXTENSION}.sphere_view"]
times = {FIGURES}["draws"] = []
def timed(draw):
    def run():
        began = time.perf_counter()
        draw()
        times.append(time.perf_counter() - began)
    return run
sphere_view.draw_cells, sphere_view.draw_text = timed(sphere_view.draw_cells), timed(sphere_view.draw_text)
"""
#: Where the camera of a cell is, seen from the sphere's centre, and where the viewport looks from: equal when it is
#: seen from the cell.
TOWARD = f"""(lambda around, cell: [
    [round(float(value), 3) for value in {SPHERE}.sphere.directions(*around.angles(cell))],
    [round(value, 3) for value in bpy.context.space_data.region_3d.view_rotation.to_matrix().col[2]],
])({SPHERE}.around_of({SETTINGS}.results[0]), {MARKED})"""


def test_the_sphere_is_shown_turned_to_by_a_click_and_hidden_without_a_trace(window: Window, server: str) -> None:
    panel = with_bus(window, server, survey=12, steps=int(STEPS), views=3, alpha=0.03)
    window.run(ONE_CLASSIFIER)
    start(window)
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    window.run("bpy.context.space_data.overlay.show_floor = False")
    window.run("bpy.context.space_data.region_3d.view_distance *= 1.6")
    for title in ("Mask", "Object & Target"):
        window.click_text(title, panel)
    hover(window)
    plain, rotation = middle(window), window.value(ROTATION)
    objects = window.value("len(bpy.data.objects)")
    window.run(MEASURE)

    window.click(window.open_panel("Confidence Sphere", "Show Sphere", panel).center)
    wait_for_change(window, plain)
    window.wait_for_text("mean confidence", window.region("WINDOW"))
    hover(window)
    after = middle(window)
    window.screenshot("sphere-after")
    window.click(window.scroll_to("Before", panel).center)
    wait_for_change(window, after)
    hover(window)
    window.screenshot("sphere-before")
    window.click(window.scroll_to("After", panel).center)

    window.click(window.scroll_to("Pick View", panel).center)
    window.wait_for(PICKING)
    window.move((window.region("WINDOW").center[0] - 120, window.region("WINDOW").center[1]))
    window.wait_for(f"{MARKED} is not None")
    window.wait_for_text("azimuth", window.region("WINDOW"))
    window.screenshot("sphere-picking")
    window.key("LEFTMOUSE")
    window.wait_for(f"{ROTATION} != tuple({rotation!r})")
    toward, back = window.value(TOWARD)
    assert toward == back
    window.screenshot("sphere-picked")
    window.key("ESC")
    window.wait_for(f"not {PICKING} and {MARKED} is None")

    times = sorted(1e3 * seconds for seconds in window.value(f"{FIGURES}['draws']"))
    print(f"drawing: {statistics.median(times):.2f} ms in the median of {len(times)}, {times[-1]:.2f} ms at most")
    assert statistics.median(times) < DRAW_MS

    window.click(window.scroll_to("Hide Sphere", panel).center)
    window.wait_for(f"not {SPHERE}.is_on()")
    assert window.value("len(bpy.data.objects)") == objects
    window.wait_for_no_text("mean confidence", window.region("WINDOW"))
    window.screenshot("sphere-hidden")

    images = window.value("sorted(image.name for image in bpy.data.images)")
    hidden = middle(window)
    window.click(window.scroll_to("Show What Matters", panel).center)
    window.wait_for_text("Hide What Matters", panel)
    hover(window)
    wait_for_change(window, hidden)
    window.screenshot("matters")
    window.click(window.scroll_to("Hide What Matters", panel).center)
    window.wait_for_text("Show What Matters", panel)
    hover(window)
    assert difference(hidden, middle(window)) == 0.0
    assert window.value("sorted(image.name for image in bpy.data.images)") == images
