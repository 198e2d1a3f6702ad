"""Generators of the tables, the dashboard and its panels. Nothing here ships."""
