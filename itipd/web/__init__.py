"""The HTTP door: the API under /v1 and the page. It only translates; nothing is decided here."""
