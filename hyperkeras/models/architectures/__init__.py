"""One hypernetwork for many architectures."""
