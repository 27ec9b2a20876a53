"""Turns recordings of any format into the samples that a model of speech takes."""
