"""AutoAttack, figures, tables and the `sat` command. Imports no backend by name."""
