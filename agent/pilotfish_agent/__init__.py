"""The agent: intake, hardware, windows, drift, state, web. Only app.py knows all of it."""
