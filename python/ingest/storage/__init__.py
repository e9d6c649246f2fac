"""Where bytes can be: volumes and what they are like, roots and how they are known again, and room."""
