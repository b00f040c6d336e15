"""Constants that are read without the statistics themselves."""

# With fewer seeds, hardly any difference can be significant: of two, the 95% interval of a mean is ± 9 standard
# deviations, t₁ / √2 = 12.7 / 1.41.
MIN_SEEDS = 3
