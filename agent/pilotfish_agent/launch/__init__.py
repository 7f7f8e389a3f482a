"""Starting the model in place with guard and agent beside it. Standard library only."""
