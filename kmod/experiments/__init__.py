"""Experiments that survive: suites of runs, their records, and what the records say of the paper's claims."""
