"""itipd: the organizer's mailbox for iTIP (RFC 5546, RFC 6047)."""
