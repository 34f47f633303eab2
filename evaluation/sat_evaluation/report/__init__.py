"""`sat report`: one HTML file with the settings and results of studies."""
