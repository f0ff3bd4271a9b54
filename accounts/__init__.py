"""Who may do what, on whose account: keys and grants, broker credentials and sessions, and the market's clock."""
