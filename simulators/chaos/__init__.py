"""Kills of the real controller and the real broker in the middle of real events, checked from outside."""
