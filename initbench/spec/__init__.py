"""Specifications of training runs: settings, cells, grids, grid files, presets."""
