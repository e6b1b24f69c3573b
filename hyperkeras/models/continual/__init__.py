"""Parts of continual hypernetworks."""
