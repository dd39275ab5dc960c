"""The eight FER+ emotions, in the order every logit vector of this project uses.

Source of the order: the published teachers (`senet50_ferplus_dag.py` meta) and Microsoft's FER+ columns.
"""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""E = 8 classes; index in this tuple = column of every `logits_*E` array."""

FREQUENT_EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger")
"""The five emotions whose mean AUC the paper reports (student_stats.m drops fear, contempt, disgust)."""

MASKED_LOGIT = -100.0
"""Logit of an emotion that a teacher does not know: finite, and no probability at any temperature in use (e**-50 at 2)."""

MASKED_BELOW = -99.0
"""Below this a logit is `MASKED_LOGIT`: tables keep it as float32, and a mean of masked logits may miss it by a rounding."""
