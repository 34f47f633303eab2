"""`sat report`: one HTML file that shows what studies asked, and what came out."""
