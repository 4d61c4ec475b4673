"""The rows of the tables, one module per chapter, each with a tuple ``ROWS``."""
