"""Plain, readable reference implementations: oracles for the product, never imported by it."""
