# SPDX-License-Identifier: GPL-3.0-or-later
import bpy

assistive = bpy.context.scene.assistive

assistive.steps = 120
assistive.views = 6
assistive.samples = "1"
assistive.held_out_views = 32
assistive.alpha = 0.06
assistive.bounded = False
assistive.stepper = "sign"
assistive.objective = "cross_entropy"
assistive.norm = "linf"
assistive.ensemble = "mean"
assistive.augment = set()
assistive.smoothness = 0.0
assistive.octaves = 8
assistive.mined = 0.0
assistive.stop_early = False
