"""What a finished job found, reckoned from its rows when it is asked for."""
