"""The benchmark: itipd beside its floor, a bare aiosmtpd that answers 250 at once, in one run."""
