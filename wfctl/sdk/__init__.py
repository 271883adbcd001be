"""What authors write workflows with, and the loader that finds them. Knows no wire: a host implements `port.Ops`."""
