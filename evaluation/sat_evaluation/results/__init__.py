"""Results of arms: typed, as rows and curves over |A|, as tables, CSV and one sentence."""
