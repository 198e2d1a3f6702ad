"""Measure the accuracy of a model on a data set.

This package holds the folder layouts of data sets and the scores. It must not run a model.
"""
