"""Scores of students on a distillation set."""
