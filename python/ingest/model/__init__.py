"""What the program speaks of: frozen data and enums, no input or output."""
