"""Tests of the add-on in a Blender with a window; `make gui-test` runs them."""
