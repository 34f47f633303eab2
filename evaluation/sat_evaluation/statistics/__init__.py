"""What may be concluded from results: tests, intervals and curves, in numpy and scipy."""
