"""The decoder-only transformer: shapes, parameters, mathematics, loss."""
