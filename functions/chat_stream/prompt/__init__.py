"""Builds the prompt of a turn: one file for each step."""
