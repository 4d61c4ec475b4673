"""Readers of the official release layouts, one module each: ``find(folders) -> list of Item``."""
