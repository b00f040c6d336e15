"""Training runs for experiment trackers: Weights & Biases, MLflow and TensorBoard, each through its own client."""
