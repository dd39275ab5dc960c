"""The eight FER+ emotions, in the order that every logit vector of this project uses.

Source of the order: the published teachers (`senet50_ferplus_dag.py` meta) and Microsoft's FER+ columns.
"""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""E = 8 classes; index in this tuple = column of every `logits_*E` array."""

FREQUENT_EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger")
"""The five emotions whose mean AUC the paper reports (student_stats.m drops fear, contempt, disgust)."""

MASKED_LOGIT = -100.0
"""Logit of an emotion that a teacher does not know: finite, but a negligible probability at any temperature in use (e**-50
at 2)."""

MASKED_BELOW = -99.0
"""A logit below this counts as `MASKED_LOGIT`: tables store float32, and the mean of masked logits may be off by rounding."""
