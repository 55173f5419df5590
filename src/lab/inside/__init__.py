"""What goes on inside a network: while it trains, and unit by unit on a page."""
