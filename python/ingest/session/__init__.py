"""What is remembered of sessions: who holds one, its items, its copies, its parts."""
