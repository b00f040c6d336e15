"""Results on disk: the tidy table, parts, the experiment's folder, its lock, merging, verification."""
