"""Notices that the user's code has changed. What then happens is the supervisor's affair."""
