"""Networks of domains: addresses, bridges, and the back-ends of their vifs."""
