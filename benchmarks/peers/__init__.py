"""Other drift detectors, each in its own interpreter, on the streams that ours is measured on."""
