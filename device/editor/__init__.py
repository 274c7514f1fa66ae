"""Editor for zones and lines: a local web page on which the user draws on an image."""
