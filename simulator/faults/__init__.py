"""Things that go wrong on request: what a test needs of a broker, and a broker offers only when it is least welcome.

Nothing here runs unless SIMULATOR_CONTROL_TOKEN is set. `rules` say what happens to whom, `calls` carries it out on
REST calls and handshakes, `control` on sockets; `counters` tell what really arrived; `routes` are the way in.
"""
