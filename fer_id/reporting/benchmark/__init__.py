"""The paper's five models under one protocol: page, tables and the sentences that their tests support."""
