"""What the four scripts share: the development environment, the layers of tests, the demo."""
