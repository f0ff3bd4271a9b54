"""The broker on your own machine: Kite Connect v3, REST and WebSocket, over a market that exists only here."""
