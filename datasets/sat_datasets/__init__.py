"""Data sets as arrays, or as images that are decoded when they are needed; `catalogue` lists them."""
