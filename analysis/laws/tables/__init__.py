"""Runs tables: reading what people have, checking it, counting it under a convention."""
