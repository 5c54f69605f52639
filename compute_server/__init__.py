"""The compute server: optimises, evaluates and reports. Knows no bpy; imports torch only where it computes."""
