"""Page, metrics and API over the Snapshot."""
