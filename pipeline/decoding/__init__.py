"""A decoder in a process of its own, which a poisonous file may kill."""
