"""The datasets, a file for each kind: synthetic, shipped, downloaded, a folder, an array.

Each gives all samples of its dataset in one array; :mod:`trainables.data` splits them.
"""
