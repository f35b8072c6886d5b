"""Folders and URIs: read, write, lock, mirror."""
