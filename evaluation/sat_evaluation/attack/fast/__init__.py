"""AutoAttack's four attacks (Croce & Hein 2020), written for speed: each stops early where it makes no progress.

Budgets and formulas are the papers'. What is faster: broken examples leave the batch at once, several target classes
are attacked in one batch, and a search ends when what it still misses is far more than what it has gained.
"""
