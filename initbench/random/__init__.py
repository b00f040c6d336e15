"""Random numbers: the streams of a seed, and the noise that the initializers draw."""
