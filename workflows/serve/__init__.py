"""Serving: the champions of many tasks on one frozen backbone, rows of all of them in one batch, over HTTP."""
