"""What is to be trained: settings, cells, grids, grid files, presets."""
