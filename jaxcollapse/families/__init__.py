"""Families: one file holds one family's model and its learner."""
