"""The daemon: core decides, store keeps, engine drives, supervisor and worker run the user's code, server answers."""
