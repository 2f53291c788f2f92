"""From a plan to a slim model that is proved."""
