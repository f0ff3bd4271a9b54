"""Everything on one machine with nothing installed but Python: `python -m tickerproject.local` (what `bin/run` calls).

PostgreSQL and Valkey come as wheels and keep their data under the data folder; the processes of the service are
started, watched, restarted and stopped by one supervisor. Nothing here imports Django: the settings need servers that
this starts.
"""
