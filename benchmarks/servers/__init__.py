"""Real model servers in environments of their own, for bars and slow tests."""
