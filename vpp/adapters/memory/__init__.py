"""Adapters that keep everything in this process: the store and the broker of simulations and tests."""
