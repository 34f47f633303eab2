"""AutoAttack's four searches (Croce & Hein 2020) in our own arithmetic: the same budgets, while there is hope."""
