"""What to train: settings, cells, grids, grid files, presets."""
