"""The experiments: their runs, claims, results and report; a run trained again."""
