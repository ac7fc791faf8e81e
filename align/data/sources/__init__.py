"""Where examples come from; each source is a frozen dataclass that a Gin file binds."""
