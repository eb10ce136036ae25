"""What a report is drawn from: the frame of a page, SVG, text tables."""
