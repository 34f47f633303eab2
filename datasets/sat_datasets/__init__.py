"""Data sets as arrays, or as images that are decoded when asked for; `catalogue` says which there are."""
