"""A local site's cohort: tables, consent, videos, corrections, and the reader that makes a store of them."""
