"""Serving: any engine behind every search dialect, sessions, and what keeps a server safe."""
