"""One file a peer; the name is that of its interpreter, which is ours where there is no lock file of that name."""
