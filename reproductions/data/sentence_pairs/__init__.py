"""Sentences and their translations: readers, subwords and batches."""
