"""Consent records, pseudonyms made with the site's key, and the audit log."""
