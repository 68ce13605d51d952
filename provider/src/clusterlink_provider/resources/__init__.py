"""Links, mirror topics and data sources: their schemas, their life cycles and their rules at plan time."""
