"""The figures of the paper as studies: what they ask, how they are drawn, and the numbers that have been published."""
