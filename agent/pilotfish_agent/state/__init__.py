"""The one mutable store: hands out immutable Snapshots, keeps files that survive a crash."""
