"""How long the long tests are; `make soak` sets it."""

import os

# How often a real run or a worker of it is disturbed, and whether every fault strikes at every write: with 50 or more.
KILLS = int(os.environ.get("INITBENCH_SOAK_KILLS", "3"))
SEED = int(os.environ.get("INITBENCH_SOAK_SEED", "1"))
THOROUGH = KILLS >= 50

# Mutants of each kind; a part takes longer than a grid or an IDX file.
CASES = int(os.environ.get("INITBENCH_SOAK_CASES", "1000"))
PART_CASES = CASES if "INITBENCH_SOAK_CASES" in os.environ else 500
