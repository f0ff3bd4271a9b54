"""Orders at the simulated broker: from a form to a trade, and what an account has afterwards.

`terms` read what was asked for and `checks` refuse it in the broker's words; `desk` takes an order through its states;
`matching` decides what it trades against the market's own depth; `portfolio` and `funds` keep what that comes to.
Prices and money are whole paise in here and become rupees where they leave it.
"""
