"""The nouns, the part registry, the error tree, the clock and the internal events. Knows nobody."""
