"""Measurements that rows of several chapters share; a row's digest begins at the module of its measurement."""
