"""An app of the benchmark."""
