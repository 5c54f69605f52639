"""Whether the server's picture is Blender's: scenes, measures, and the command that writes docs/fidelity.md."""
