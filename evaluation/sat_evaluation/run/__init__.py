"""Running a study in a folder: checks, executors, workers, progress and status."""
