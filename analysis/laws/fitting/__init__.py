"""From a form and a table to a certified optimum."""
