"""Criteria by what feature maps hold."""
