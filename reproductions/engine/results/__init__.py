"""Records as readers see them: rows, claims, tables and charts."""
