"""Training a teacher on FER+, and running one on many faces or labelled clips."""
