"""`tokenwire bench`: measures servers under load, side by side."""
