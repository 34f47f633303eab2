"""Figures of a study drawn with matplotlib, and the values that they share with the HTML report."""
