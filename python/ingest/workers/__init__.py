"""Worker processes: what is asked of them, how they are started, watched and replaced."""
