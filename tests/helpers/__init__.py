"""What several test modules build their scenes from."""
