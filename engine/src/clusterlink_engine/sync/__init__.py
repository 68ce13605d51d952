"""What a link keeps in step besides records: one module for each task."""
