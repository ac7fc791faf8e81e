"""Tables, plots and one HTML page from fitted laws."""
