"""A local site's cohort: tables, consent, videos, corrections, and the reader that converts them to a store."""
