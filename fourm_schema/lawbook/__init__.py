"""The laws that a schema is held to, and the search for what breaks a law. Needs the extra `test`."""
