"""A differentiable renderer of one textured object: only the texture has gradients. Imports no classifier."""
