"""AutoAttack (Croce & Hein 2020) on a classifier: per example, saved after every batch, resumable."""
