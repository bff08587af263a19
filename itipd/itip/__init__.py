"""The core: iTIP decisions as pure functions (RFC 5546). No I/O, no clock, no logging."""
