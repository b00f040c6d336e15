"""What a process that trains needs in its environment, before it imports NumPy or PyTorch.

MKL then computes a row of a product in the same way whatever the product's size (3 to 5% of the speed on some
processors, nothing on others), and every library keeps to one thread.
"""

ENVIRONMENT = {
    "MKL_CBWR": "AUTO,STRICT",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
