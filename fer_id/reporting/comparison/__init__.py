"""Several runs side by side: one page, one table, their figures."""
