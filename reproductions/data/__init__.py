"""Data sets: embedded, generated, or read from `--data-dir`."""
