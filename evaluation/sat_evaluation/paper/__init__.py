"""The figures of the paper as studies, drawn and compared with the published numbers."""
