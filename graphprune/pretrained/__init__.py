"""Folders of pretrained models, in and out: a slim model of the same class, with a configuration that says so."""
