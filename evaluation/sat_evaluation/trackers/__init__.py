"""Trackers of experiments: TensorBoard, MLflow, Weights & Biases, trackio. None of them ends a run."""
