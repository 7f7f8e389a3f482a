"""Bars of hardware: exact numbers of the whole tree, its control group and its GPUs, almost free."""
