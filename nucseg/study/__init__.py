"""The study: experiments declared row by row, run records, tidy tables, and what chapters ask for."""
