"""Reference software for neural collapse theory: the unconstrained layer-peeled model (ULPM) and its gradient flow."""
