"""From a request to a plan: proposals are measured and adjusted."""
