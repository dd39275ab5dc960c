"""Names of stages in the record of a labelling run, by which a plan reads it."""

FIRST_PART = "first_part"
"""Stage of the run's record: from the start of the job until the first new part was on storage."""

WORK = "work"
"""Stage of the run's record: from the first task to the last part, what labelling takes when everything has started."""
