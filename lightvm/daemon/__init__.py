"""The service `lightvmd`."""
