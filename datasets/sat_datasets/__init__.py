"""Data sets as arrays: digits (comes with scikit-learn), npz (an archive of arrays), folder (a tree of images)."""
