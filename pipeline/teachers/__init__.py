"""Training a teacher on FER+, and running one over many faces or labelled clips."""
