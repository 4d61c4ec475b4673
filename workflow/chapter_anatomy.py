"""What every chapter has in common: its headings, in this order, and the cell tags it may use."""

#: Second-level headings every chapter has, in this order. Sections of the method (any names, any number)
#: stand between "The idea in one picture" and "Results"; the build appends "Run record" at the end.
HEADINGS = (
    "What you will learn",
    "Before you start",
    "Key takeaways",
    "The idea in one picture",
    "Results",
    "Paper versus ours",
    "What goes wrong",
    "Exercises",
    "Quiz",
    "Summary",
    "Bibliography",
)

#: Cell tags a chapter may use. Not "raises-exception": papermill stops at an error whatever the tag says,
#: so a chapter shows an error with try and except.
TAGS = frozenset(
    {
        "parameters",
        "hide-input",
        "hide-output",
        "remove-input",
        "remove-output",
        "remove-cell",
        "solution",
    }
)

#: A code cell has fewer lines than this.
CELL_LINES = 25
