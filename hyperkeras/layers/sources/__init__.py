"""Sources: layers that give a sparse hyperlayer its index tuples."""
