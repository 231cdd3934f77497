"""HTML pages that need nothing else: their style, escaping, tables and figures."""
