"""What a model server says of itself on its own `/metrics`, under one set of names; one file a server."""
