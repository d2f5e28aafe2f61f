"""The networks, and how a configuration becomes one."""
