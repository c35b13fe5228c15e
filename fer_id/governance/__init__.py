"""Who may be learned from and judged: consent, pseudonyms, the audit log, erasure."""
