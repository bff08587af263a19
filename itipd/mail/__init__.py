"""iMIP: from a mail to its calendar parts and back (RFC 6047). Pure and bounded."""
