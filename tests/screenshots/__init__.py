"""Screenshots: the pictures of the docs, each module's made by its `take`."""
