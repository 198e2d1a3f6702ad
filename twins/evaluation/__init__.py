"""Accuracy of a model on a data set.

Folder layouts and scores live here. Running a model does not.
"""
