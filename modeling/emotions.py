"""The eight FER+ emotions, in the order every logit vector of this project uses.

Source of the order: the published teachers (`senet50_ferplus_dag.py` meta) and Microsoft's FER+ columns.
"""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""E = 8 classes; index in this tuple = column of every `logits_*E` array."""

FREQUENT_EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger")
"""The five emotions whose mean AUC the paper reports (student_stats.m drops fear, contempt, disgust)."""
