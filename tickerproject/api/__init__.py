"""The REST interface's shared forms: errors, pages, throttles. Reached by dotted settings, so no app imports it."""
